// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <compare>
#include <cstddef>

#include "net/address.hpp"

namespace icqgate::engine {

// A TCP flow as the forward hook sees it: `inside` is the LAN client's end, with its own address (translated
// back where NAT is at work), `outside` the other one.
struct FlowKey {
  Endpoint inside;
  Endpoint outside;
  friend auto operator<=>(const FlowKey&, const FlowKey&) noexcept = default;
};
struct FlowKeyHash {
  std::size_t operator()(const FlowKey& key) const noexcept {
    const EndpointHash hash;
    const std::size_t outside = hash(key.outside);
    return hash(key.inside) ^ (outside + 0x9e3779b97f4a7c15u + (outside << 6) + (outside >> 2));
  }
};

}  // namespace icqgate::engine
