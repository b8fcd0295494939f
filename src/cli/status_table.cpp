// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/status_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

namespace icqgate::cli {

using nlohmann::ordered_json;

namespace {

std::string shown(const ordered_json& row, const char* key) {
  const auto found = row.is_object() ? row.find(key) : row.end();
  if (found == row.end() || found->is_null()) return "-";
  if (!found->is_string()) return found->dump();
  auto text = found->get<std::string>();
  if (text.empty()) return "-";
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return text;
}

std::string duration(const ordered_json& row, const char* key) {
  const auto found = row.is_object() ? row.find(key) : row.end();
  if (found == row.end() || !found->is_number()) return "-";
  return readable(std::chrono::seconds{found->get<std::int64_t>()});
}

struct Column {
  const char* heading;
  const char* key;
  std::string (*show)(const ordered_json&, const char*);
};

void section(std::string& out, const ordered_json& status, const char* title, const char* key,
             const std::vector<Column>& columns) {
  out += fmt::format("\n{}\n", title);
  const auto rows = status.find(key);
  if (rows == status.end() || !rows->is_array() || rows->empty()) {
    out += "  none\n";
    return;
  }
  std::vector<std::vector<std::string>> cells(1);
  for (const Column& column : columns) cells[0].emplace_back(column.heading);
  for (const auto& row : *rows) {
    auto& line = cells.emplace_back();
    for (const Column& column : columns) line.push_back(column.show(row, column.key));
  }
  std::vector<std::size_t> widths(columns.size());
  for (const auto& line : cells)
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  for (const auto& line : cells) {
    std::string text;
    for (std::size_t i = 0; i < line.size(); ++i) text += fmt::format("  {:<{}}", line[i], widths[i]);
    out += text.erase(text.find_last_not_of(' ') + 1) + '\n';
  }
}

// Counters that count something; a nested object's have its name before theirs.
void collect(const ordered_json& counters, const std::string& before,
             std::vector<std::pair<std::string, std::string>>& into) {
  for (const auto& [name, value] : counters.items()) {
    std::string words = name;
    std::replace(words.begin(), words.end(), '_', ' ');
    if (value.is_object()) {
      collect(value, before + words + ": ", into);
    } else if (value.is_number() && value != 0) {
      into.emplace_back(before + words, value.dump());
    }
  }
}

void counters(std::string& out, const ordered_json& status) {
  out += "\nCounters\n";
  std::vector<std::pair<std::string, std::string>> lines;
  if (const auto found = status.find("counters"); found != status.end() && found->is_object())
    collect(*found, "", lines);
  if (lines.empty()) out += "  none\n";
  std::size_t width = 0;
  for (const auto& line : lines) width = std::max(width, line.first.size());
  for (const auto& [name, value] : lines) out += fmt::format("  {:<{}}  {}\n", name, width, value);
}

}  // namespace

std::string readable(std::chrono::seconds duration) {
  const auto total = std::max<std::int64_t>(duration.count(), 0);
  const auto pair = [](std::int64_t large, char large_unit, std::int64_t small, char small_unit) {
    return small == 0 ? fmt::format("{}{}", large, large_unit)
                      : fmt::format("{}{} {}{}", large, large_unit, small, small_unit);
  };
  if (total < 60) return fmt::format("{}s", total);
  if (total < 3600) return pair(total / 60, 'm', total % 60, 's');
  if (total < 86400) return pair(total / 3600, 'h', total % 3600 / 60, 'm');
  return pair(total / 86400, 'd', total % 86400 / 3600, 'h');
}

std::string status_table(const ordered_json& status) {
  std::string out = fmt::format("icqgate {}, table {}{}, up {}, queues: {}, timeouts renewed: {}\n",
                                shown(status, "version"), shown(status, "table"),
                                status.value("owner", false) ? " (owned)" : "", duration(status, "uptime"),
                                shown(status, "queue_form"), shown(status, "timeout_update"));
  if (const auto problem = shown(status, "state_problem"); problem != "-")
    out += fmt::format("the state can't be saved: {}\n", problem);  // the problem names the file
  section(out, status, "Addresses", "addresses",
          {{"HOST", "host", shown},
           {"ADDRESS", "address", shown},
           {"PORT", "port", shown},
           {"SOURCE", "source", shown},
           {"AGE", "age", duration},
           {"TTL LEFT", "ttl_left", duration},
           {"EXPIRES IN", "expires_in", duration},
           {"FLOWS", "flows", shown}});
  section(out, status, "Names", "names",
          {{"NAME", "name", shown},
           {"TYPE", "type", shown},
           {"ADDRESSES", "addresses", shown},
           {"NEXT ASK IN", "next_ask_in", duration},
           {"FAILING FOR", "failing_for", duration},
           {"LAST ERROR", "last_error", shown}});
  section(out, status, "Sessions", "sessions",
          {{"CLIENT", "client", shown},
           {"UIN", "uin", shown},
           {"SERVER", "server", shown},
           {"STATE", "state", shown},
           {"SINCE", "since", duration}});
  section(out, status, "Pinholes", "pinholes",
          {{"CLIENT", "client", shown},
           {"PORT", "port", shown},
           {"UIN", "uin", shown},
           {"KIND", "kind", shown},
           {"STATE", "state", shown},
           {"EXPIRES IN", "expires_in", duration},
           {"PEERS", "peers", shown}});
  section(out, status, "Returns", "returns",
          {{"PEER", "peer", shown},
           {"CLIENT", "client", shown},
           {"PORT", "port", shown},
           {"EXPIRES IN", "expires_in", duration}});
  section(out, status, "Queues", "queues",
          {{"NUMBER", "number", shown},
           {"LANE", "lane", shown},
           {"RECEIVED", "received", shown},
           {"WAITING", "waiting", shown},
           {"LOST", "lost", shown},
           {"DROPPED", "dropped", shown}});
  counters(out, status);
  return out;
}

}  // namespace icqgate::cli
