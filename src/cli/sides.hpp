// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <optional>
#include <set>
#include <vector>

#include "engine/event.hpp"

namespace icqgate::cli {

// A capture does not say which side of the gateway an address is on. `client` networks say it; without them
// a private address talking to one that is not private is inside. Where both are private only the connections
// to a login server tell: who opens one is inside.
class Sides {
 public:
  explicit Sides(std::vector<Subnet> clients) : clients_{std::move(clients)} {}

  // Which side `source` is on; nullopt if both ends are on one side, or it cannot be told.
  [[nodiscard]] std::optional<engine::Side> of(const IpAddress& source, const IpAddress& destination) const;
  // Nothing but a connection to a login server can tell about these two.
  [[nodiscard]] bool untold(const IpAddress& source, const IpAddress& destination) const;
  void learn_inside(const IpAddress& address) { learned_.insert(address); }
  // Addresses learned, as networks.
  [[nodiscard]] std::vector<Subnet> learned() const;

 private:
  std::vector<Subnet> clients_;
  std::set<IpAddress> learned_;
};

}  // namespace icqgate::cli
