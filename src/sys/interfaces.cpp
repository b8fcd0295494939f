// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/interfaces.hpp"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>

#include "sys/handles.hpp"

namespace icqgate::sys {

namespace {

using AddressList = std::unique_ptr<ifaddrs, CloseWith<&freeifaddrs>>;
using NameList = std::unique_ptr<struct if_nameindex, CloseWith<&if_freenameindex>>;

std::optional<IpAddress> address_of(const sockaddr* address) {
  if (address == nullptr) return std::nullopt;
  if (address->sa_family == AF_INET) {
    sockaddr_in four;
    std::memcpy(&four, address, sizeof four);
    return Ipv4{ntohl(four.sin_addr.s_addr)};
  }
  if (address->sa_family == AF_INET6) {
    sockaddr_in6 six;
    std::memcpy(&six, address, sizeof six);
    std::array<std::uint8_t, 16> bytes;
    std::memcpy(bytes.data(), &six.sin6_addr, bytes.size());
    return Ipv6{bytes};
  }
  return std::nullopt;
}

// The network of `address` under `mask`, an address with the leading bits set. No mask: a host.
Subnet subnet_of(const IpAddress& address, const std::optional<IpAddress>& mask) {
  if (const auto four = address.v4()) {
    const auto given = mask ? mask->v4() : std::nullopt;
    const std::uint32_t bits = given ? given->get() : 0xffffffff;
    return {Ipv4{four->get() & bits}, static_cast<std::uint8_t>(std::popcount(bits))};
  }
  std::array<std::uint8_t, 16> network = address.v6()->get();
  const auto six = mask ? mask->v6() : std::nullopt;
  unsigned length = 0;
  for (std::size_t i = 0; i < network.size(); ++i) {
    const std::uint8_t bits = six ? six->get()[i] : std::uint8_t{0xff};
    network[i] = static_cast<std::uint8_t>(network[i] & bits);
    length += static_cast<unsigned>(std::popcount(bits));
  }
  return {Ipv6{network}, static_cast<std::uint8_t>(length)};
}

}  // namespace

bool matches_interface(std::string_view pattern, std::string_view name) noexcept {
  if (pattern.ends_with('*')) return name.starts_with(pattern.substr(0, pattern.size() - 1));
  return pattern == name;
}

Result<std::vector<InterfaceAddress>, SysError> interface_addresses(
    const std::vector<std::string>& patterns) {
  ifaddrs* head = nullptr;
  if (getifaddrs(&head) != 0) return tl::make_unexpected(SysError{"getifaddrs", errno});
  const AddressList list{head};

  std::vector<InterfaceAddress> found;
  for (const ifaddrs* entry = list.get(); entry != nullptr; entry = entry->ifa_next) {
    const auto address = address_of(entry->ifa_addr);
    if (!address) continue;
    std::string name{entry->ifa_name};
    name.resize(std::min(name.size(), name.find(':')));  // "eth0:1" is a label of an address on eth0
    const auto wanted = [&](const std::string& pattern) { return matches_interface(pattern, name); };
    if (std::none_of(patterns.begin(), patterns.end(), wanted)) continue;
    const Subnet subnet = subnet_of(*address, address_of(entry->ifa_netmask));
    const unsigned index = if_nametoindex(name.c_str());
    found.push_back({std::move(name), index, subnet, *address});
  }
  return found;
}

Result<std::vector<std::string>, SysError> missing_interfaces(const std::vector<std::string>& patterns) {
  const NameList names{::if_nameindex()};
  if (!names) return tl::make_unexpected(SysError{"if_nameindex", errno});
  std::vector<std::string> missing = patterns;
  for (const struct if_nameindex* entry = names.get(); entry->if_index != 0; ++entry) {
    std::erase_if(missing,
                  [&](const std::string& pattern) { return matches_interface(pattern, entry->if_name); });
  }
  return missing;
}

}  // namespace icqgate::sys
