// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "sys/unique_fd.hpp"

namespace icqgate::sys {

namespace {

Result<std::string, SysError> read_all(const UniqueFd& file, std::size_t most) {
  std::string text;
  std::array<char, 16384> part;
  for (;;) {
    const auto count = ::read(file.get(), part.data(), part.size());
    if (count == 0) return text;
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return tl::make_unexpected(SysError{"read", errno});
    if (static_cast<std::size_t>(count) > most - text.size()) {
      return tl::make_unexpected(SysError{"read", EFBIG});
    }
    text.append(part.data(), static_cast<std::size_t>(count));
  }
}

Result<Done, SysError> write_all(const UniqueFd& file, std::string_view text) {
  while (!text.empty()) {
    const auto count = ::write(file.get(), text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return tl::make_unexpected(SysError{"write", errno});
    text.remove_prefix(static_cast<std::size_t>(count));
  }
  return Done{};
}

// What would let somebody else decide what the file says; "" if nothing.
std::string distrust(const struct stat& file) {
  if (!S_ISREG(file.st_mode)) return "is not a regular file";
  if (file.st_uid != 0 && file.st_uid != ::geteuid()) {
    return fmt::format("belongs to user {}, not to user {} or root", file.st_uid, ::geteuid());
  }
  const auto mode = static_cast<unsigned>(file.st_mode & 07777);
  if ((mode & (S_IWGRP | S_IWOTH)) != 0) {
    return fmt::format("may be written by others (mode {:04o}): expected 0600", mode);
  }
  return {};
}

// The passing file beside the one to be replaced: opened and empty.
Result<UniqueFd, SysError> open_fresh(const UniqueFd& folder, const std::string& name, mode_t mode) {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  UniqueFd file{::openat(folder.get(), name.c_str(), kFlags, mode)};
  if (!file && errno == EEXIST) {  // a crash left it; O_EXCL again, so that nothing can slip in between
    if (::unlinkat(folder.get(), name.c_str(), 0) != 0) {
      return tl::make_unexpected(SysError{"unlinkat", errno});
    }
    file.reset(::openat(folder.get(), name.c_str(), kFlags, mode));
  }
  if (!file) return tl::make_unexpected(SysError{"openat", errno});
  return file;
}

// Everything up to the moment the name changes hands.
Result<Done, SysError> write_durably(const UniqueFd& file, std::string_view text) {
  if (const auto written = write_all(file, text); !written) return written;
  if (::fsync(file.get()) != 0) return tl::make_unexpected(SysError{"fsync", errno});
  return Done{};
}

}  // namespace

Result<std::string, SysError> read_file(const std::string& path, std::size_t most) {
  const UniqueFd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!file) return tl::make_unexpected(SysError{"open", errno});
  return read_all(file, most);
}

Result<std::optional<std::string>, std::string> read_private_file(const std::string& path, std::size_t most) {
  const auto refuse = [&path](std::string_view why) {
    return tl::make_unexpected(fmt::format("{}: {}", path, why));
  };
  // O_NONBLOCK: a pipe without a writer would not let go of us.
  const UniqueFd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)};
  if (!file) {
    const int code = errno;
    if (code == ENOENT) return std::nullopt;
    if (struct stat link{}; code == ELOOP && ::lstat(path.c_str(), &link) == 0 && S_ISLNK(link.st_mode)) {
      return refuse("is a symbolic link");
    }
    return refuse(to_string(SysError{"open", code}));
  }
  struct stat found{};
  if (::fstat(file.get(), &found) != 0) return refuse(to_string(SysError{"fstat", errno}));
  if (const auto why = distrust(found); !why.empty()) return refuse(why);
  auto text = read_all(file, most);
  if (text) return std::move(*text);
  if (text.error().code == EFBIG) return refuse(fmt::format("is longer than {} bytes", most));
  return refuse(to_string(text.error()));
}

Result<Done, SysError> write_file_atomically(const std::string& path, std::string_view text, FileMode mode) {
  const std::filesystem::path whole{path};
  const std::string name = whole.filename().string();
  const std::string passing = "." + name + ".new";
  const std::string folder_name = whole.has_parent_path() ? whole.parent_path().string() : ".";
  if (name.empty()) return tl::make_unexpected(SysError{"open", EISDIR});

  // Held open, so that all steps happen in one folder whatever is renamed above it meanwhile.
  const UniqueFd folder{::open(folder_name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!folder) return tl::make_unexpected(SysError{"open", errno});
  struct stat there{};
  const bool is_there = ::fstatat(folder.get(), name.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0;
  const bool kept = mode == FileMode::Kept && is_there && S_ISREG(there.st_mode);
  {
    const auto file = open_fresh(folder, passing, mode == FileMode::Kept && !kept ? 0666 : 0600);
    if (!file) return tl::make_unexpected(file.error());
    auto done = write_durably(*file, text);
    // The owner only where we may; the mode after it, since a change of owner takes bits away.
    if (done && kept && ::fchown(file->get(), there.st_uid, there.st_gid) != 0 && errno != EPERM)
      done = tl::make_unexpected(SysError{"fchown", errno});
    if (done && kept && ::fchmod(file->get(), there.st_mode & 07777) != 0)
      done = tl::make_unexpected(SysError{"fchmod", errno});
    // A device, a pipe or a folder there is a mistake of who wrote the path: never to be replaced by a file.
    if (done && ::fstatat(folder.get(), name.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0 &&
        !S_ISREG(there.st_mode) && !S_ISLNK(there.st_mode)) {
      done = tl::make_unexpected(SysError{"not a regular file", S_ISDIR(there.st_mode) ? EISDIR : EEXIST});
    }
    if (done && ::renameat(folder.get(), passing.c_str(), folder.get(), name.c_str()) != 0) {
      done = tl::make_unexpected(SysError{"renameat", errno});
    }
    if (!done) {
      (void)::unlinkat(folder.get(), passing.c_str(), 0);
      return done;
    }
  }
  // EINVAL: a file system that has no such thing for folders.
  if (::fsync(folder.get()) != 0 && errno != EINVAL) {
    return tl::make_unexpected(SysError{"fsync of the folder", errno});
  }
  return Done{};
}

Result<Done, SysError> make_private_directory(const std::string& path) {
  std::filesystem::path whole{path};
  if (!whole.has_filename()) whole = whole.parent_path();  // "state/" has an empty one
  std::error_code error;
  if (whole.has_parent_path()) std::filesystem::create_directories(whole.parent_path(), error);
  // Whatever it says, mkdir() says it better.
  if (::mkdir(whole.c_str(), 0700) == 0) return Done{};
  const int code = errno;
  struct stat found{};
  if (code == EEXIST && ::stat(whole.c_str(), &found) == 0) {
    if (S_ISDIR(found.st_mode)) return Done{};
    return tl::make_unexpected(SysError{"mkdir", ENOTDIR});
  }
  return tl::make_unexpected(SysError{"mkdir", code});
}

std::string no_place_for_file(const std::string& path) {
  struct stat there{};
  if (::stat(path.c_str(), &there) != 0 || S_ISREG(there.st_mode)) return {};
  return S_ISDIR(there.st_mode) ? "is a folder" : "is not a regular file";
}

FileStamp FileStamp::of(const std::string& path) noexcept {
  struct stat found{};
  if (::stat(path.c_str(), &found) != 0) return {};
  return {.there = true,
          .device = found.st_dev,
          .inode = found.st_ino,
          .modified_seconds = found.st_mtim.tv_sec,
          .modified_nanoseconds = found.st_mtim.tv_nsec,
          .size = found.st_size};
}

}  // namespace icqgate::sys
