// SPDX-License-Identifier: GPL-2.0-or-later
#include "daemon/state_file.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

namespace icqgate::daemon {

namespace {

using engine::FlowKey;
using engine::Saved;
using nlohmann::json;
using std::chrono::seconds;

// Escaped, with quotes. ASCII only: what is no UTF-8 becomes U+FFFD, so that the file is always JSON.
std::string quoted(const std::string& text) {
  return json(text).dump(-1, ' ', true, json::error_handler_t::replace);
}

template <class T>
std::string or_null(const std::optional<T>& value) {
  if (!value) return "null";
  if constexpr (std::is_same_v<T, Ipv4>) {
    return '"' + to_string(IpAddress{*value}) + '"';
  } else if constexpr (std::is_same_v<T, Uin>) {
    return std::to_string(value->get());
  } else {
    return std::to_string(*value);
  }
}

std::int64_t span(seconds value) {
  return std::clamp<std::int64_t>(value.count(), -kMostSavedSpan.count(), kMostSavedSpan.count());
}

std::string flow_keys(const FlowKey& flow) {
  return fmt::format(R"("client": "{}", "server": "{}")", to_string(flow.inside), to_string(flow.outside));
}

std::string entry(const Saved::Address& address) {
  return fmt::format(R"({{"name": {}, "address": "{}", "ttl_left": {}, "age": {}}})", quoted(address.name),
                     to_string(address.address), span(address.ttl_left), span(address.age));
}

std::string entry(const Saved::Session& session) {
  std::vector<std::string> hosts;
  for (const auto& host : session.hosts)
    if (hosts.size() < kMostSavedHosts) hosts.push_back(quoted(host));
  return fmt::format(
      R"({{{}, "conntrack": {}, "hosts": [{}], "uin": {}, "online": {}, "moving": {}, "external": {}, )"
      R"("exact": {}, "to_server": {}, "to_client": {}, "age": {}, "silent": {}}})",
      flow_keys(session.flow), session.conntrack, fmt::join(hosts, ", "), or_null(session.uin),
      session.online, session.moving, or_null(session.external), session.exact, session.to_server,
      session.to_client, span(session.age), span(session.silent));
}

std::string entry(const Saved::Pinhole& pinhole) {
  return fmt::format(
      R"({{"client": "{}", "port": {}, "uin": {}, "owner": {{{}}}, "reason": {}, "peers": {}, "age": {}}})",
      to_string(IpAddress{pinhole.client}), pinhole.port.get(), pinhole.uin.get(), flow_keys(pinhole.owner),
      quoted(pinhole.reason), pinhole.peers, span(pinhole.age));
}

template <class T>
void append_list(std::string& text, std::string_view name, const std::vector<T>& list) {
  text += fmt::format(",\n \"{}\": [", name);
  for (std::size_t i = 0; i < list.size(); ++i) {
    text += i == 0 ? "\n  " : ",\n  ";
    text += entry(list[i]);
  }
  text += list.empty() ? "]" : "\n ]";
}

}  // namespace

std::int64_t seconds_since_1970(std::chrono::system_clock::time_point time) {
  const auto since = std::chrono::floor<seconds>(time.time_since_epoch());
  return std::clamp(since, seconds{0}, kMostSavedTime).count();
}

std::string encode_state(const Saved& saved, std::chrono::system_clock::time_point saved_at) {
  std::string text = fmt::format("{{\n \"format\": \"{}\",\n \"version\": {},\n \"saved_at\": {}",
                                 kStateFormat, kStateVersion, seconds_since_1970(saved_at));
  append_list(text, "addresses", saved.addresses);
  append_list(text, "sessions", saved.sessions);
  append_list(text, "pinholes", saved.pinholes);
  return text + "\n}\n";
}

}  // namespace icqgate::daemon
