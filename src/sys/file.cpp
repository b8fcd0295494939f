// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/file.hpp"

#include <fcntl.h>

#include <array>
#include <cerrno>

#include "sys/unique_fd.hpp"

namespace icqgate::sys {

Result<std::string, SysError> read_file(const std::string& path, std::size_t most) {
  const UniqueFd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!file) return tl::make_unexpected(SysError{"open", errno});
  std::string text;
  std::array<char, 4096> part;
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

}  // namespace icqgate::sys
