// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"
#include "nft/element.hpp"

namespace icqgate::nft {

// What the kernel says of a table: requests in bytes, answers and events as values. Sending is somebody
// else's. `message` is one netlink message.
struct TableInfo {
  std::uint32_t flags = 0;  // NFT_TABLE_F_..., kPersist
  std::string comment;
};
// One message is the answer, or ENOENT.
[[nodiscard]] std::vector<std::byte> table_request(const std::string& table, std::uint32_t sequence);
[[nodiscard]] std::optional<TableInfo> parse_table(Bytes message);

struct CounterInfo {
  std::string name;
  std::uint64_t packets = 0;
};
// A dump of all counters of the table.
[[nodiscard]] std::vector<std::byte> counters_request(const std::string& table, std::uint32_t sequence);
[[nodiscard]] std::optional<CounterInfo> parse_counter(Bytes message, const std::string& table);

// An element as a dump of NFT_MSG_GETSETELEM brings it.
struct Dumped {
  Element element;
  std::chrono::milliseconds timeout{0};
  std::chrono::milliseconds expires{0};
};
// The request that dumps one set, and what its answers say of one of ours.
[[nodiscard]] std::vector<std::byte> dump_request(const std::string& table, std::string_view set,
                                                  std::uint32_t sequence);
[[nodiscard]] std::vector<Dumped> parse_dump(SetId set, Bytes message);

// A change of some ruleset of this network namespace.
struct TableEvent {
  int type = 0;                   // NFT_MSG_...
  std::string table;              // "": of another family, or NFT_MSG_NEWGEN
  std::string set;                // of elements
  std::string chain;              // of a rule
  std::string program;            // NFT_MSG_NEWGEN, which ends what one transaction changed: whose it was
  std::vector<Element> elements;  // NFT_MSG_DELSETELEM: those of our sets
};
[[nodiscard]] std::optional<TableEvent> parse_event(Bytes message);

}  // namespace icqgate::nft
