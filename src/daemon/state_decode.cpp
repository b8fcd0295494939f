// SPDX-License-Identifier: GPL-2.0-or-later
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "daemon/json_shape.hpp"
#include "daemon/state_file.hpp"
#include "dns/message.hpp"

namespace icqgate::daemon {

namespace {

using engine::FlowKey;
using engine::Saved;
using nlohmann::json;
using std::chrono::seconds;

constexpr std::int64_t kMost32 = std::numeric_limits<std::uint32_t>::max();
constexpr std::size_t kMostReason = 64;
constexpr std::size_t kMostDepth = 16;  // 4 are in use: file, list, entry, owner
// All lists full are some 4 million; the rest is for sessions with several hosts, and for keys of a later
// version.
constexpr std::size_t kMostValues = 8'000'000;

// A value as the file has it, cut short.
std::string words_of(const json* found) {
  constexpr std::size_t kMost = 60;
  if (!found) return "nothing";
  const std::string words = found->dump(-1, ' ', true, json::error_handler_t::replace);
  return words.size() <= kMost ? words : words.substr(0, kMost) + "...";
}

// The first thing that was not as expected, and where.
class Fault {
 public:
  void report(const std::string& place, std::string_view expected, std::string_view found) {
    if (text_.empty()) text_ = fmt::format("{}: expected {}, found {}", place, expected, found);
  }
  [[nodiscard]] bool none() const noexcept { return text_.empty(); }
  [[nodiscard]] std::string text() && { return std::move(text_); }

 private:
  std::string text_;
};

std::optional<Endpoint> parse_endpoint(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const bool brackets = host.starts_with('[') && host.ends_with(']');
  if (brackets) host = host.substr(1, host.size() - 2);
  const auto address = parse_address(host);
  const auto port = parse_port(text.substr(colon + 1));
  if (!address || !port || address->is_v4() == brackets) return std::nullopt;
  return Endpoint{*address, *port};
}

std::optional<Ipv4> parse_ipv4(std::string_view text) {
  const auto address = parse_address(text);
  return address ? address->v4() : std::nullopt;
}

std::optional<std::string> parse_owner_name(const std::string& text) {
  if (dns::parse_name(text) != text) return std::nullopt;
  return text;
}

std::optional<std::string> parse_host(const std::string& text) {
  return parse_address(text) ? text : parse_owner_name(text);
}

std::optional<std::string> parse_format(const std::string& text) {
  if (text != kStateFormat) return std::nullopt;
  return text;
}

std::optional<std::string> parse_reason(const std::string& text) {
  const bool shown = std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
  if (text.empty() || text.size() > kMostReason || !shown) return std::nullopt;
  return text;
}

// One object, read key by key. A key that is not as expected is reported and read as an empty value; who sees
// a fault in the end throws all of it away.
class Object {
 public:
  Object(const json& value, std::string place, Fault& fault)
      : value_{value}, place_{std::move(place)}, fault_{fault} {
    if (!value.is_object()) fault.report(place_, "an object", words_of(&value));
  }

  std::int64_t number(const char* key, std::int64_t least, std::int64_t most) const {
    const json* const found = find(key);
    // Unsigned ones beyond the signed range, and fractions, are not what get() says they are.
    const bool whole = found && found->is_number_integer() &&
                       (!found->is_number_unsigned() || found->get<std::uint64_t>() <= kMostSigned);
    if (whole) {
      const auto number = found->get<std::int64_t>();
      if (number >= least && number <= most) return number;
    }
    const auto range =
        least == most ? fmt::format("{}", least) : fmt::format("a whole number from {} to {}", least, most);
    report(key, range, found);
    return 0;
  }
  seconds span(const char* key, std::int64_t least = 0) const {
    return seconds{number(key, least, kMostSavedSpan.count())};
  }
  bool flag(const char* key) const {
    const json* const found = find(key);
    if (found && found->is_boolean()) return found->get<bool>();
    report(key, "true or false", found);
    return false;
  }
  // What `parse` makes of a text; `expected` are the words for what it takes.
  template <class Parse>
  auto text(const char* key, Parse parse, std::string_view expected) const {
    const json* const found = find(key);
    auto parsed = found && found->is_string() ? parse(found->get_ref<const std::string&>()) : std::nullopt;
    if (!parsed) report(key, expected, found);
    return parsed ? std::move(*parsed) : typename decltype(parsed)::value_type{};
  }
  // A list of such texts.
  template <class Parse>
  std::vector<std::string> texts(const char* key, std::size_t most, Parse parse,
                                 std::string_view expected) const {
    const json* const found = find(key);
    if (!found || !found->is_array() || found->size() > most) {
      report(key, fmt::format("a list of at most {}", most), found);
      return {};
    }
    std::vector<std::string> taken;
    for (const json& one : *found) {
      auto parsed = one.is_string() ? parse(one.get_ref<const std::string&>()) : std::nullopt;
      if (!parsed) report(key, expected, &one);
      taken.push_back(parsed.value_or(""));
    }
    return taken;
  }
  // There or not: null is a value, absence is not.
  bool is_null(const char* key) const {
    const json* const found = find(key);
    return found && found->is_null();
  }
  std::optional<std::uint32_t> number_or_null(const char* key, std::int64_t least) const {
    if (is_null(key)) return std::nullopt;
    return static_cast<std::uint32_t>(number(key, least, kMost32));
  }
  FlowKey flow() const {
    constexpr std::string_view kExpected = "an address with a port";
    const FlowKey flow{text("client", parse_endpoint, kExpected), text("server", parse_endpoint, kExpected)};
    if (flow.inside.address.is_v4() != flow.outside.address.is_v4()) {
      report("server", "an address of the client's family", find("server"));
    }
    return flow;
  }
  Object object(const char* key) const {
    static const json kEmpty;
    const json* const found = find(key);
    return {found ? *found : kEmpty, place_ + "." + key, fault_};
  }
  void report(const char* key, std::string_view expected, const json* found) const {
    fault_.report(place_.empty() ? key : place_ + "." + key, expected, words_of(found));
  }
  const json* find(const char* key) const {
    if (!value_.is_object()) return nullptr;
    const auto found = value_.find(key);
    return found != value_.end() ? &*found : nullptr;
  }

 private:
  static constexpr std::uint64_t kMostSigned = std::numeric_limits<std::int64_t>::max();
  const json& value_;
  std::string place_;  // "" for the file
  Fault& fault_;
};

Saved::Address take_address(const Object& object) {
  return {.name = object.text("name", parse_owner_name, "a host name in lower case"),
          .address = object.text("address", parse_address, "an address"),
          .ttl_left = object.span("ttl_left", -kMostSavedSpan.count()),
          .age = object.span("age")};
}

Saved::Session take_session(const Object& object) {
  Saved::Session session;
  session.flow = object.flow();
  session.conntrack = static_cast<std::uint32_t>(object.number("conntrack", 0, kMost32));
  session.hosts =
      object.texts("hosts", kMostSavedHosts, parse_host, "a host name in lower case, or an address");
  if (const auto uin = object.number_or_null("uin", 1)) session.uin = Uin{*uin};
  session.online = object.flag("online");
  session.moving = object.flag("moving");
  if (!object.is_null("external")) session.external = object.text("external", parse_ipv4, "an IPv4 address");
  session.exact = object.flag("exact");
  session.to_server = static_cast<std::uint32_t>(object.number("to_server", 0, kMost32));
  session.to_client = static_cast<std::uint32_t>(object.number("to_client", 0, kMost32));
  session.age = object.span("age");
  session.silent = object.span("silent");
  return session;
}

Saved::Pinhole take_pinhole(const Object& object) {
  return {.client = object.text("client", parse_ipv4, "an IPv4 address"),
          .port = Port{static_cast<std::uint16_t>(object.number("port", 1024, 65535))},
          .uin = Uin{static_cast<std::uint32_t>(object.number("uin", 1, kMost32))},
          .owner = object.object("owner").flow(),
          .reason = object.text("reason", parse_reason, "a short text"),
          .peers = static_cast<std::uint32_t>(object.number("peers", 0, kMost32)),
          .age = object.span("age")};
}

auto key_of(const Saved::Address& address) { return std::pair{address.name, address.address}; }
FlowKey key_of(const Saved::Session& session) { return session.flow; }
auto key_of(const Saved::Pinhole& pinhole) { return std::pair{pinhole.client, pinhole.port}; }

// The list of that name, each entry by `take`, none twice.
template <class T>
std::vector<T> take_list(const Object& file, const char* name, std::size_t most, T (*take)(const Object&),
                         Fault& fault) {
  const json* const list = file.find(name);
  if (!list || !list->is_array()) {
    file.report(name, "a list", list);
    return {};
  }
  if (list->size() > most) {
    fault.report(name, fmt::format("at most {} entries", most), std::to_string(list->size()));
    return {};
  }
  std::vector<T> taken;
  taken.reserve(list->size());
  std::set<decltype(key_of(std::declval<T>()))> seen;
  for (std::size_t i = 0; i < list->size() && fault.none(); ++i) {
    const auto place = fmt::format("{}[{}]", name, i);
    taken.push_back(take(Object{(*list)[i], place, fault}));
    if (!seen.insert(key_of(taken.back())).second) {
      fault.report(place, "each only once", words_of(&(*list)[i]));
    }
  }
  return taken;
}

// Each pinhole belongs to one of the sessions, and to that session's client and user.
void check_owners(const Saved& saved, const Object& file, Fault& fault) {
  std::map<FlowKey, const Saved::Session*> sessions;
  for (const auto& session : saved.sessions) sessions.emplace(session.flow, &session);
  for (std::size_t i = 0; i < saved.pinholes.size(); ++i) {
    const auto& pinhole = saved.pinholes[i];
    const auto place = [&](const char* key) { return fmt::format("pinholes[{}].{}", i, key); };
    const json& entry = (*file.find("pinholes"))[i];
    const auto owner = sessions.find(pinhole.owner);
    if (owner == sessions.end()) {
      fault.report(place("owner"), "one of the sessions", words_of(&entry["owner"]));
    } else if (pinhole.owner.inside.address != IpAddress{pinhole.client}) {
      fault.report(place("client"), "its owner's address", words_of(&entry["client"]));
    } else if (owner->second->uin != pinhole.uin) {
      fault.report(place("uin"), "its owner's", words_of(&entry["uin"]));
    }
  }
}

void grow(seconds& span, seconds by) { span = std::min(span + by, kMostSavedSpan); }

// Everything has become older by `elapsed`.
void let_time_pass(Saved& saved, seconds elapsed) {
  for (auto& address : saved.addresses) {
    grow(address.age, elapsed);
    address.ttl_left = std::max(address.ttl_left - elapsed, -kMostSavedSpan);
  }
  for (auto& session : saved.sessions) {
    grow(session.age, elapsed);
    grow(session.silent, elapsed);
  }
  for (auto& pinhole : saved.pinholes) grow(pinhole.age, elapsed);
}

}  // namespace

Result<Saved, std::string> decode_state(std::string_view text, std::chrono::system_clock::time_point now) {
  if (text.size() > kMostStateBytes) {
    return tl::make_unexpected(fmt::format("longer than {} bytes", kMostStateBytes));
  }
  if (auto why = json_fault(text, {kMostDepth, kMostValues})) return tl::make_unexpected(std::move(*why));
  const json whole = json::parse(text, nullptr, false);  // can't fail now, and would not throw

  if (!whole.is_object()) return tl::make_unexpected("expected an object, found " + words_of(&whole));

  Fault fault;
  const Object file{whole, "", fault};
  (void)file.text("format", parse_format, fmt::format("\"{}\"", kStateFormat));
  (void)file.number("version", kStateVersion, kStateVersion);
  const std::int64_t saved_at = file.number("saved_at", 0, kMostSavedTime.count());
  Saved saved;
  saved.addresses = take_list(file, "addresses", kMostSavedAddresses, take_address, fault);
  saved.sessions = take_list(file, "sessions", kMostSavedSessions, take_session, fault);
  saved.pinholes = take_list(file, "pinholes", kMostSavedPinholes, take_pinhole, fault);
  if (fault.none()) check_owners(saved, file, fault);
  if (!fault.none()) return tl::make_unexpected(std::move(fault).text());

  const seconds elapsed{std::max<std::int64_t>(0, seconds_since_1970(now) - saved_at)};
  if (elapsed > kOldestState) saved.addresses.clear();
  let_time_pass(saved, std::min(elapsed, kOldestState));
  return saved;
}

}  // namespace icqgate::daemon
