// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/instance_lock.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

namespace icqgate::sys {

Result<UniqueFd, SysError> lock_instance(const std::string& name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (name.size() + 1 > sizeof(address.sun_path)) return tl::make_unexpected(SysError{"bind", ENAMETOOLONG});
  std::memcpy(address.sun_path + 1, name.data(), name.size());  // a leading NUL: the abstract namespace
  UniqueFd socket{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  if (!socket) return tl::make_unexpected(SysError{"socket", errno});
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0)
    return tl::make_unexpected(SysError{"bind", errno});
  return socket;
}

}  // namespace icqgate::sys
