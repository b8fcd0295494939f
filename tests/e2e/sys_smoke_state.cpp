// SPDX-License-Identifier: GPL-2.0-or-later
// What lies on the disk: the private file that outlives a restart.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "sys/file.hpp"
#include "sys_smoke.hpp"

namespace {
// The durable steps in the order they were made, and the one to fail (counted from 1; 0: none). A crash can't
// be had here; that the data is asked to be on the disk before the name changes hands can.
std::vector<std::string> steps;
std::size_t failing = 0;

bool refuses(const char* step) {
  steps.emplace_back(step);
  if (steps.size() != failing) return false;
  errno = EIO;
  return true;
}
}  // namespace

// Stand in front of the C library's for this program.
extern "C" int fsync(int fd) {
  struct stat found{};
  (void)fstat(fd, &found);
  if (refuses(S_ISDIR(found.st_mode) ? "fsync of the folder" : "fsync of the file")) return -1;
  return static_cast<int>(syscall(SYS_fsync, fd));
}
extern "C" int renameat(int from_folder, const char* from, int to_folder, const char* to) noexcept {
  if (refuses("rename")) return -1;
  return static_cast<int>(syscall(SYS_renameat2, from_folder, from, to_folder, to, 0));
}

namespace icqgate::smoke {

namespace {

namespace fs = std::filesystem;
constexpr std::size_t kMost = 1 << 20;

// A tmpfs in a mount namespace of our own, small enough to be filled.
class SmallDisk {
 public:
  SmallDisk() {
    char pattern[] = "/tmp/sys_smoke.XXXXXX";
    if (mkdtemp(pattern) == nullptr) give_up("mkdtemp");
    path_ = pattern;
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("none", pattern, "tmpfs", 0, "size=64k,mode=0755") != 0) {
      give_up("a tmpfs of our own");
    }
  }
  ~SmallDisk() {
    (void)umount2(path_.c_str(), MNT_DETACH);
    (void)rmdir(path_.c_str());
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  [[nodiscard]] std::string at(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

void put(const std::string& path, std::string_view text) { std::ofstream{path, std::ios::trunc} << text; }

std::string content(const std::string& path) {
  std::ifstream file{path};
  return {std::istreambuf_iterator<char>{file}, {}};
}

std::size_t entries(const std::string& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator{folder}, {}));
}

unsigned mode_of(const std::string& path) {
  struct stat found{};
  return lstat(path.c_str(), &found) == 0 ? found.st_mode & 07777u : 0;
}

// Why the file is not taken; "taken" or "absent" if it is or there is none.
std::string refusal(const std::string& path, std::size_t most = kMost) {
  const auto text = sys::read_private_file(path, most);
  if (!text) return text.error();
  return *text ? "taken" : "absent";
}

void expect_refused(const std::string& path, std::string_view why, std::size_t most = kMost) {
  const std::string said = refusal(path, most);
  expect(said == path + ": " + std::string{why}, "refused: " + said);
}

int code_of(const Result<sys::Done, sys::SysError>& done) { return done ? 0 : done.error().code; }

void test_writing(const SmallDisk& disk) {
  const std::string folder = disk.at("state"), file = folder + "/state.json";
  expect(code_of(sys::write_file_atomically(file, "x")) == ENOENT, "no folder: an error");
  expect(sys::make_private_directory(disk.at("a/b/c/")) && mode_of(disk.at("a/b/c")) == 0700,
         "a folder and those above it");
  expect(
      sys::make_private_directory(folder) && sys::make_private_directory(folder) && mode_of(folder) == 0700,
      "a folder, twice");
  put(disk.at("taken"), "");
  expect(code_of(sys::make_private_directory(disk.at("taken"))) == ENOTDIR, "a file in its place");

  const mode_t mask = umask(0);
  steps.clear();
  expect(sys::write_file_atomically(file, "one").has_value() && content(file) == "one" &&
             mode_of(file) == 0600 && entries(folder) == 1,
         "a new file, 0600 whatever the umask, alone in its folder");
  umask(mask);
  expect(steps == std::vector<std::string>{"fsync of the file", "rename", "fsync of the folder"},
         "the data, then the name, then the folder");
  expect(sys::write_file_atomically(file, "two").has_value() && content(file) == "two", "replaced");
  put(folder + "/.state.json.new", "left by a crash");
  expect(sys::write_file_atomically(file, "three").has_value() && content(file) == "three" &&
             entries(folder) == 1,
         "a leftover is replaced");
  put(disk.at("elsewhere"), "not ours");
  fs::create_symlink(disk.at("elsewhere"), folder + "/.state.json.new");
  expect(sys::write_file_atomically(file, "four").has_value() && content(file) == "four" &&
             content(disk.at("elsewhere")) == "not ours" && entries(folder) == 1,
         "a link laid in its way is not followed");
  fs::create_symlink(disk.at("elsewhere"), folder + "/link.json");
  expect(sys::write_file_atomically(folder + "/link.json", "five").has_value() &&
             content(disk.at("elsewhere")) == "not ours" && !fs::is_symlink(folder + "/link.json"),
         "a link in the file's place is replaced");
  fs::remove(folder + "/link.json");

  fs::create_directory_symlink("state", disk.at("linked"));
  expect(sys::write_file_atomically(disk.at("linked/state.json"), "six").has_value() &&
             content(file) == "six" && refusal(disk.at("linked/state.json")) == "taken",
         "the folder may be a link");

  for (const std::size_t step : {1u, 2u, 3u}) {
    steps.clear();
    failing = step;
    const auto done = sys::write_file_atomically(file, "seven");
    failing = 0;
    expect(code_of(done) == EIO && content(file) == (step < 3 ? "six" : "seven") && entries(folder) == 1,
           fmt::format("failure of the {}: reported, nothing left over", steps.back()));
  }

  const std::string large(40'000, 'x');
  expect(sys::write_file_atomically(file, large).has_value(), "most of the disk");
  const auto full = sys::write_file_atomically(file, std::string(40'001, 'y'));
  expect(code_of(full) == ENOSPC && content(file) == large && entries(folder) == 1,
         "disk full: the old file stays, nothing is left over");

  rlimit limit{}, before{};
  (void)getrlimit(RLIMIT_FSIZE, &before);
  limit = {1000, before.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  (void)setrlimit(RLIMIT_FSIZE, &limit);
  const auto limited = sys::write_file_atomically(file, std::string(2000, 'z'));
  (void)setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  expect(code_of(limited) == EFBIG && content(file) == large && entries(folder) == 1,
         "cut in the middle: the same");

  fs::create_directory(folder + "/folder");
  expect(code_of(sys::write_file_atomically(folder + "/folder", "x")) == EISDIR && entries(folder) == 2,
         "a folder in its place");
  expect(code_of(sys::write_file_atomically(folder + "/", "x")) == EISDIR, "no name");
  fs::remove(folder + "/folder");
  expect(sys::write_file_atomically(file, "").has_value() && content(file).empty(), "an empty text");
}

void test_reading(const SmallDisk& disk) {
  const std::string file = disk.at("state/state.json");
  expect(sys::write_file_atomically(file, "text").has_value() && refusal(file) == "taken", "ours is read");
  expect(*must(sys::read_private_file(file, 4), "read") == "text", "up to the last byte allowed");
  expect_refused(file, "is longer than 3 bytes", 3);
  expect(refusal(disk.at("state/nothere")) == "absent" && refusal(disk.at("nowhere/nothere")) == "absent",
         "there being none is no error");
  fs::create_symlink("state.json", disk.at("state/link"));
  expect_refused(disk.at("state/link"), "is a symbolic link");
  (void)mkfifo(disk.at("state/pipe").c_str(), 0600);
  expect_refused(disk.at("state/pipe"), "is not a regular file");
  expect_refused(disk.at("state"), "is not a regular file");
  expect_refused("/dev/null", "is not a regular file");
  for (const auto& [mode, words] : {std::pair{0620u, "0620"}, std::pair{0606u, "0606"}}) {
    (void)chmod(file.c_str(), mode);
    expect_refused(file, fmt::format("may be written by others (mode {}): expected 0600", words));
  }
  (void)chmod(file.c_str(), 0644);
  expect(refusal(file) == "taken", "readable by others: nothing in it is secret");
  (void)chown(file.c_str(), 1234, 0);
  expect_refused(file, "belongs to user 1234, not to user 0 or root");
  (void)seteuid(1234);
  expect(refusal(disk.at("state")).find("is not a regular file") == std::string::npos,
         "0700 keeps others out");
  (void)seteuid(0);
  (void)chmod(disk.at("state").c_str(), 0755);
  (void)seteuid(1234);
  const std::string own = refusal(file);
  (void)seteuid(0);
  (void)seteuid(1235);
  const std::string strangers = refusal(file);
  (void)seteuid(0);
  expect(
      own == "taken" && strangers.find("belongs to user 1234, not to user 1235 or root") != std::string::npos,
      "an unprivileged user's own file, and another's");
}

void test_stamps(const SmallDisk& disk) {
  const std::string file = disk.at("resolv.conf"), link = disk.at("link.conf");
  const auto absent = sys::FileStamp::of(file);
  expect(!absent.there && absent == sys::FileStamp::of(disk.at("nowhere/x")), "absence is a value");
  put(file, "nameserver 192.0.2.1\n");
  fs::create_symlink("resolv.conf", link);
  const auto first = sys::FileStamp::of(file);
  expect(first.there && first == sys::FileStamp::of(file) && first == sys::FileStamp::of(link),
         "the same file, through a link too");
  usleep(20'000);
  put(file, "nameserver 192.0.2.2\n");
  const auto second = sys::FileStamp::of(link);
  expect(second != first, "rewritten in place, same length");
  put(disk.at("other.conf"), "nameserver 192.0.2.3\n");
  fs::rename(disk.at("other.conf"), file);
  const auto third = sys::FileStamp::of(link);
  expect(third != second && third.inode != second.inode, "replaced by rename");
  put(disk.at("other.conf"), "nameserver 192.0.2.3\n");
  fs::remove(link);
  fs::create_symlink("other.conf", link);
  expect(sys::FileStamp::of(link) != third, "the link points elsewhere");
  fs::remove(disk.at("other.conf"));
  expect(sys::FileStamp::of(link) == absent, "gone");
}

}  // namespace

void test_files() {
  const SmallDisk disk;
  test_writing(disk);
  test_reading(disk);
  test_stamps(disk);
}

}  // namespace icqgate::smoke
