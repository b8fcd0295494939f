// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/sides.hpp"

#include <algorithm>

namespace icqgate::cli {

using engine::Side;

namespace {
bool is_private(const IpAddress& address) { return scope_of(address) == Scope::Private; }
}  // namespace

std::optional<Side> Sides::of(const IpAddress& source, const IpAddress& destination) const {
  const auto told = [](bool source_inside, bool destination_inside) -> std::optional<Side> {
    if (source_inside == destination_inside) return std::nullopt;
    return source_inside ? Side::Lan : Side::Wan;
  };
  if (!clients_.empty()) {
    const auto inside = [this](const IpAddress& address) {
      return std::any_of(clients_.begin(), clients_.end(),
                         [&](const Subnet& subnet) { return subnet.contains(address); });
    };
    return told(inside(source), inside(destination));
  }
  if (is_private(source) != is_private(destination)) return told(is_private(source), is_private(destination));
  return told(learned_.contains(source), learned_.contains(destination));
}

bool Sides::untold(const IpAddress& source, const IpAddress& destination) const {
  return clients_.empty() && is_private(source) && is_private(destination) && !of(source, destination);
}

std::vector<Subnet> Sides::learned() const {
  std::vector<Subnet> subnets;
  for (const IpAddress& address : learned_)
    subnets.push_back({address, static_cast<std::uint8_t>(address.is_v4() ? 32 : 128)});
  return subnets;
}

}  // namespace icqgate::cli
