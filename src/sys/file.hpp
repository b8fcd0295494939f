// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "sys/error.hpp"

namespace icqgate::sys {

// The whole file, a pipe as well. More than `most` bytes: EFBIG, and nothing is returned.
[[nodiscard]] Result<std::string, SysError> read_file(const std::string& path, std::size_t most);

// A file that only we write: nobody else may have had a hand in what it says. nullopt: there is none. Error,
// one sentence with the path: it is a symbolic link, not a regular file, not ours or root's, writable by
// others, or longer than `most` bytes. Never waits (a pipe is refused). The folder may be reached through
// links, as the state folder of a unit with DynamicUser= is.
[[nodiscard]] Result<std::optional<std::string>, std::string> read_private_file(const std::string& path,
                                                                                std::size_t most);

// Who may read and write a file that is put in place: us alone, or whoever might before (a new one: as the
// umask says).
enum class FileMode { Private, Kept };

// Puts `text` in the place of the file, or makes it. After a crash at any moment the old
// file is there, or the new one, whole. A link at `path` itself is replaced, what it points to is not
// touched. Waits for the disk. Error: the old file is as it was and nothing is left beside it; only where
// "fsync of the folder" failed is the new file in place already, perhaps not for good. One writer at a time:
// the name of the passing file is always the same, so that a leftover of a crash does not stay.
[[nodiscard]] Result<Done, SysError> write_file_atomically(const std::string& path, std::string_view text,
                                                           FileMode mode = FileMode::Private);

// Makes a folder that only we may enter, and those above it. One that is there already stays as it is.
[[nodiscard]] Result<Done, SysError> make_private_directory(const std::string& path);

// Tells whether a file is still the one that was read, through links. There being none is a value too; so is
// a file that can't be looked at. A rewrite in place of equal length within the file system's clock tick (4
// ms) is not seen.
// What stands in the way of a file at that path: "is a folder", "is not a regular file", or "": nothing does.
// Whether it may be written is not looked at.
[[nodiscard]] std::string no_place_for_file(const std::string& path);

struct FileStamp {
  bool there = false;
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::int64_t modified_seconds = 0;
  std::int64_t modified_nanoseconds = 0;
  std::int64_t size = 0;
  [[nodiscard]] static FileStamp of(const std::string& path) noexcept;
  friend bool operator==(const FileStamp&, const FileStamp&) = default;
};

}  // namespace icqgate::sys
