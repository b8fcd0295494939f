// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.hpp"

namespace icqgate::nft {

// What the kernel says of a table (NFT_MSG_GETTABLE) and of its named counters (NFT_MSG_GETOBJ): requests in
// bytes, answers as values. Sending is somebody else's.
struct TableInfo {
  bool dormant = false;
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

}  // namespace icqgate::nft
