// SPDX-License-Identifier: GPL-2.0-or-later
// What lies on the disk: the private file that outlives a restart, and the thread that writes it.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "daemon/state_file.hpp"
#include "daemon/state_writer.hpp"
#include "sys/file.hpp"
#include "sys_smoke.hpp"

namespace {
// The durable steps in the order they were made, and the one to fail (counted from 1; 0: none). A crash can't
// be had here; that the data is asked to be on the disk before the name changes hands can.
std::vector<std::string> steps;
std::size_t failing = 0;
std::atomic<int> flush_takes = 0;  // ms, as on a slow disk

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
  usleep(static_cast<unsigned>(flush_takes) * 1000);
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
  (void)mkfifo((folder + "/pipe").c_str(), 0600);
  expect(!sys::write_file_atomically(folder + "/pipe", "never").has_value() &&
             fs::is_fifo(folder + "/pipe") &&
             sys::no_place_for_file(folder + "/pipe") == "is not a regular file" &&
             sys::no_place_for_file(folder) == "is a folder" && sys::no_place_for_file(file).empty() &&
             sys::no_place_for_file(folder + "/none").empty(),
         "what is no file is not replaced by one");
  fs::remove(folder + "/pipe");

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

engine::Saved numbered_state(std::uint32_t count) {
  engine::Saved saved;
  for (std::uint32_t i = 1; i <= count; ++i) {
    saved.addresses.push_back({"login.icq.com", Ipv4{i}, std::chrono::seconds{60}, std::chrono::seconds{0}});
  }
  return saved;
}

// How many addresses the file holds; -1: no state can be read from it.
int addresses_in(const std::string& file) {
  const auto text = sys::read_private_file(file, daemon::kMostStateBytes);
  if (!text || !*text) return -1;
  const auto saved = daemon::decode_state(**text, std::chrono::system_clock::now());
  return saved ? static_cast<int>(saved->addresses.size()) : -1;
}

// Of the signals 1 to 64, those that the thread which is not the main one takes.
std::uint64_t signals_of_worker() {
  for (const auto& task : fs::directory_iterator{"/proc/self/task"}) {
    if (task.path().filename() == std::to_string(getpid())) continue;
    const std::string status = content(task.path() / "status");
    const std::size_t at = status.find("SigBlk:\t");
    if (at != std::string::npos) return ~std::stoull(status.substr(at + 8, 16), nullptr, 16);
  }
  return ~std::uint64_t{0};
}

void test_state_writer(const SmallDisk& disk) {
  const std::string file = disk.at("lib/icqgate/state.json");
  {
    daemon::StateWriter writer{file};
    expect(!fs::exists(disk.at("lib")) && !writer.take_problem(),
           "nothing is touched before the first value");
    writer.submit(numbered_state(1));
    writer.flush();
    expect(addresses_in(file) == 1 && mode_of(disk.at("lib/icqgate")) == 0700 && !writer.take_problem(),
           "a value is written, its folder made");
    // KILL and STOP can't be blocked; 32 and 33 are the C library's own.
    const std::uint64_t kept = 1u << (SIGKILL - 1) | 1u << (SIGSTOP - 1) | std::uint64_t{3} << 31;
    expect((signals_of_worker() & ~kept) == 0, "its thread takes no signals");

    flush_takes = 200;
    steps.clear();
    const auto start = std::chrono::steady_clock::now();
    for (std::uint32_t i = 1; i <= 100; ++i) writer.submit(numbered_state(i));
    const auto submitted = std::chrono::steady_clock::now() - start;
    writer.flush();
    const auto written = std::count(steps.begin(), steps.end(), "rename");
    expect(submitted < std::chrono::milliseconds{150} && written <= 2 && addresses_in(file) == 100,
           fmt::format("100 values on a slow disk: handed over in {:.1f} ms, {} written, the last among them",
                       std::chrono::duration<double, std::milli>(submitted).count(), written));
    writer.submit(numbered_state(7));
  }
  flush_takes = 0;
  expect(addresses_in(file) == 7, "the destructor writes what waits");

  daemon::StateWriter writer{file};
  for (int i = 0; i < 2; ++i) {
    writer.submit(numbered_state(2000));
    writer.flush();
    const auto problem = writer.take_problem();
    if (i == 0) {
      expect(problem == file + ": write: No space left on device",
             "disk full: " + problem.value_or("nothing"));
    } else {
      expect(!problem, "again: told only once");
    }
  }
  expect(addresses_in(file) == 7, "and the last good file stays");
  writer.submit(numbered_state(8));
  writer.flush();
  expect(writer.take_problem() == "" && !writer.take_problem() && addresses_in(file) == 8,
         "room again: told once, and written");

  rlimit limit{}, before{};
  (void)getrlimit(RLIMIT_FSIZE, &before);
  limit = {1000, before.rlim_max};
  (void)setrlimit(RLIMIT_FSIZE, &limit);
  writer.submit(numbered_state(100));
  writer.flush();
  (void)setrlimit(RLIMIT_FSIZE, &before);
  expect(writer.take_problem() == file + ": write: File too large" && addresses_in(file) == 8,
         "a file longer than allowed: an error, not the end of the process");
#if !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)  // they need memory of their own all the time
  (void)getrlimit(RLIMIT_AS, &before);
  limit = {1 << 20, before.rlim_max};
  (void)setrlimit(RLIMIT_AS, &limit);
  {
    daemon::StateWriter threadless{disk.at("threadless.json")};
    (void)setrlimit(RLIMIT_AS, &before);
    threadless.submit({});
    threadless.flush();
    const auto problem = threadless.take_problem().value_or("nothing");
    expect(problem.find("threadless.json: no thread to write it: ") != std::string::npos &&
               !threadless.take_problem(),
           "no thread to be had: " + problem);
  }
#endif
  put(disk.at("in_the_way"), "");
  daemon::StateWriter nowhere{disk.at("in_the_way/state.json")};
  nowhere.submit({});
  nowhere.flush();
  expect(nowhere.take_problem() == disk.at("in_the_way/state.json") + ": open: Not a directory",
         "a file where the folder should be");
}

}  // namespace

void test_files() {
  const SmallDisk disk;
  test_writing(disk);
  test_reading(disk);
  test_stamps(disk);
}

void test_state() {
  const SmallDisk disk;
  test_state_writer(disk);
}

}  // namespace icqgate::smoke
