// SPDX-License-Identifier: GPL-2.0-or-later
#include "config/consistency.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "config/value.hpp"

namespace icqgate::config {
namespace {

class Consistency {
 public:
  Consistency(const Config& config, const Said& said, ErrorList& errors)
      : config_{config}, said_{said}, errors_{errors} {}

  void ttls() {
    if (any_wrong("ttl-min", "ttl-max") || config_.ttl_min <= config_.ttl_max) return;
    const auto least = to_string(config_.ttl_min);
    const auto most = to_string(config_.ttl_max);
    if (const auto* given = blamed("ttl-min", "ttl-max")) {
      errors_.add(given->place,
                  fmt::format("{}: {} is above ttl-max, {}", spelt(given->place, "ttl-min"), least, most));
    } else if (const auto* other = blamed("ttl-max", "ttl-min")) {
      errors_.add(other->place,
                  fmt::format("{}: {} is below ttl-min, {}", spelt(other->place, "ttl-max"), most, least));
    }
  }

  void queues() {
    different("queue-control", config_.queue_control, "queue-peer", config_.queue_peer);
    different("queue-control", config_.queue_control, "queue-names", config_.queue_names);
    different("queue-peer", config_.queue_peer, "queue-names", config_.queue_names);
  }

  void addresses() {
    if (any_wrong("addresses-per-name", "addresses-total") ||
        config_.addresses_per_name <= config_.addresses_total)
      return;
    for (const auto& [key, other] :
         {std::pair{"addresses-per-name", "addresses-total"}, {"addresses-total", "addresses-per-name"}}) {
      const auto* const given = blamed(key, other);
      if (given == nullptr) continue;
      errors_.add_value(given->place, key, given->text, "one name may have more addresses than all may",
                        "addresses-per-name up to addresses-total");
      return;
    }
  }

  void interfaces() {
    if (any_wrong("lan", "wan")) return;
    for (const auto& wan : config_.wan) {
      for (const auto& lan : config_.lan) {
        if (!interfaces_overlap(lan, wan)) continue;
        const auto* const as_wan = find("wan", wan);
        const auto* const given = as_wan != nullptr ? as_wan : find("lan", lan);
        if (given == nullptr) continue;
        errors_.add_value(given->place, as_wan != nullptr ? "wan" : "lan", given->text,
                          as_wan != nullptr ? fmt::format("also inside, by lan {}", quoted(lan))
                                            : fmt::format("also outside, by wan {}", quoted(wan)),
                          "an interface to be either lan or wan");
        break;
      }
    }
  }

  void resolvers() {
    if (!config_.resolvers.empty()) system_alone("resolver");
    if (!config_.dns_servers.empty()) system_alone("dns-server");
  }

  void ports() {
    if (any_wrong("port-range", "port-deny")) return;
    for (std::uint32_t port = config_.port_range.first.get(); port <= config_.port_range.last.get(); ++port)
      if (!is_denied(Port{static_cast<std::uint16_t>(port)}, config_)) return;
    const auto* given = blamed("port-range", "port-deny");
    if (given != nullptr) {
      errors_.add_value(given->place, "port-range", given->text,
                        "no port of it may be opened: all are denied, by port-deny or the built-in list",
                        "a range with other ports too");
    } else if (const auto* deny = last("port-deny")) {
      errors_.add_value(deny->place, "port-deny", deny->text, "with it every port of port-range is denied",
                        "to leave one at least");
    }
  }

  void maps() {
    const auto found = said_.values.find("map");
    if (any_wrong("map", "client") || found == said_.values.end()) return;
    const auto& given = found->second;  // more than config_.maps where one is written twice
    for (auto one = given.begin(); one != given.end(); ++one) {
      const auto map = parse_map(one->text);
      if (!map) continue;
      const IpAddress client{map->client};
      if (!config_.clients.empty() &&
          std::ranges::none_of(config_.clients, [&](const Subnet& net) { return net.contains(client); }))
        errors_.add_value(one->place, "map", one->text,
                          fmt::format("{} is in no network of client", icqgate::to_string(client)),
                          "an address within client");
      for (auto other = given.begin(); other != one; ++other) {
        const auto before = parse_map(other->text);
        if (!before || *before == *map || before->last < map->first || map->last < before->first) continue;
        errors_.add_value(one->place, "map", one->text,
                          fmt::format("ports of it are also in {}", quoted(other->text)),
                          "ranges that do not overlap");
        break;
      }
    }
  }

 private:
  void different(const char* one, std::uint16_t first, const char* two, std::uint16_t second) {
    if (any_wrong(one, two) || first != second) return;
    for (const auto& [key, other] : {std::pair{two, one}, {one, two}}) {
      const auto* const given = blamed(key, other);
      if (given == nullptr) continue;
      errors_.add_value(given->place, key, given->text, fmt::format("the same as {}", other),
                        "two different queue numbers");
      return;
    }
  }
  void system_alone(std::string_view key) {
    if (const auto* system = find(key, "system"))
      errors_.add_value(system->place, key, system->text, "addresses are given beside it",
                        "system alone, or addresses");
  }
  [[nodiscard]] bool any_wrong(std::string_view a, std::string_view b) const {
    return said_.wrong.contains(a) || said_.wrong.contains(b);
  }
  [[nodiscard]] const Given* last(std::string_view key) const {
    const auto found = said_.values.find(key);
    return found == said_.values.end() || found->second.empty() ? nullptr : &found->second.back();
  }
  [[nodiscard]] const Given* find(std::string_view key, std::string_view text) const {
    const auto found = said_.values.find(key);
    if (found == said_.values.end()) return nullptr;
    const auto given = std::ranges::find(found->second, text, &Given::text);
    return given == found->second.end() ? nullptr : &*given;
  }
  // The value of `key`, if it is the one to point at: not when the command line set `other` and not `key`,
  // since then the file was sound before.
  [[nodiscard]] const Given* blamed(std::string_view key, std::string_view other) const {
    const Given* const mine = last(key);
    const Given* const theirs = last(other);
    if (mine != nullptr && theirs != nullptr && theirs->place.on_command_line() &&
        !mine->place.on_command_line())
      return nullptr;
    return mine;
  }

  const Config& config_;
  const Said& said_;
  ErrorList& errors_;
};

}  // namespace

void check_consistency(const Config& config, const Said& said, ErrorList& errors) {
  Consistency check{config, said, errors};
  check.ttls();
  check.queues();
  check.addresses();
  check.interfaces();
  check.resolvers();
  check.ports();
  check.maps();
}

}  // namespace icqgate::config
