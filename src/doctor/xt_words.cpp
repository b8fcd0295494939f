// SPDX-License-Identifier: GPL-2.0-or-later
#include "doctor/xt_words.hpp"

#include <charconv>
#include <cstdint>
#include <optional>
#include <regex>

namespace icqgate::doctor {

namespace {

using Json = nlohmann::json;

std::optional<std::uint64_t> number(std::string_view text) {
  const bool hex = text.starts_with("0x");
  if (hex) text.remove_prefix(2);
  std::uint64_t value = 0;
  const auto done = std::from_chars(text.data(), text.data() + text.size(), value, hex ? 16 : 10);
  if (done.ec != std::errc{} || done.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

Json match(const char* op, Json left, Json right) {
  return {{"match", {{"op", op}, {"left", std::move(left)}, {"right", std::move(right)}}}};
}

std::optional<std::smatch> find(const std::string& text, const std::regex& pattern) {
  std::smatch found;
  if (text.size() > 4096 || !std::regex_search(text, found, pattern)) return std::nullopt;
  return found;
}

const char* op_of(const std::ssub_match& negation) { return negation.length() > 0 ? "!=" : "in"; }

Json conntrack(const std::string& text) {
  static const std::regex state{R"(\bct (state|status) (!= )?([a-z,-]+))"};
  const auto found = find(text, state);
  if (!found) return {};
  Json words = Json::array();
  const std::string list = (*found)[3];
  for (std::size_t at = 0; at < list.size();) {
    const auto end = std::min(list.find(',', at), list.size());
    words.push_back(list.substr(at, end - at));
    at = end + 1;
  }
  return match(op_of((*found)[2]), {{"ct", {{"key", (*found)[1].str()}}}}, std::move(words));
}

Json multiport(const std::string& text) {
  static const std::regex ports{R"(\b(tcp|udp) (sport|dport) (!= )?(\{[^}]*\}|[0-9-]+))"};
  const auto found = find(text, ports);
  if (!found) return {};
  Json right = ports_of_words((*found)[4]);
  if (right.is_null()) return {};
  return match(op_of((*found)[3]),
               {{"payload", {{"protocol", (*found)[1].str()}, {"field", (*found)[2].str()}}}},
               std::move(right));
}

Json mark_target(const std::string& text) {
  static const std::regex copy{
      R"(\b(meta|ct) mark set (?:(meta|ct) )?mark( (?:and|&) (0x[0-9a-f]+))?( (?:or|xor|\||\^) (0x[0-9a-f]+))?)"};
  static const std::regex constant{R"(\b(meta|ct) mark set (0x[0-9a-f]+|[0-9]+))"};
  const auto mark_of = [](const std::string& where) { return Json{{where, {{"key", "mark"}}}}; };
  if (const auto found = find(text, copy)) {
    Json value = mark_of((*found)[2].length() > 0 ? (*found)[2].str() : std::string{"meta"});
    if ((*found)[3].length() > 0)
      value = {{"&", Json::array({value, number((*found)[4].str()).value_or(0)})}};
    if ((*found)[5].length() > 0)
      value = {{"|", Json::array({value, number((*found)[6].str()).value_or(0)})}};
    return {{"mangle", {{"key", mark_of((*found)[1])}, {"value", value}}}};
  }
  if (const auto found = find(text, constant))
    return {{"mangle", {{"key", mark_of((*found)[1])}, {"value", number((*found)[2].str()).value_or(0)}}}};
  return {};
}

Json queue(const std::string& text) {
  static const std::regex numbers{R"(\bqueue(?: flags [a-z,]+)?(?: num| to)? ([0-9]+)(?:-([0-9]+))?)"};
  const auto found = find(text, numbers);
  if (!found) return {};
  const auto first = number((*found)[1].str()).value_or(0);
  if ((*found)[2].length() == 0) return {{"queue", {{"num", first}}}};
  return {{"queue", {{"num", {{"range", {first, number((*found)[2].str()).value_or(first)}}}}}}};
}

Json translated(const std::string& type, const std::string& name, const std::string& text) {
  if (type == "match") {
    if (name == "comment") return {{"counter", nullptr}};  // says nothing and matches all
    if (name == "conntrack" || name == "state") return conntrack(text);
    if (name == "multiport") return multiport(text);
    return {};
  }
  if (name == "REJECT") return {{"reject", nullptr}};
  if (name == "LOG" || name == "NFLOG" || name == "TCPMSS") return {{"log", nullptr}};
  if (name == "DNAT") return {{"dnat", nullptr}};
  if (name == "REDIRECT") return {{"redirect", nullptr}};
  if (name == "MASQUERADE") return {{"masquerade", nullptr}};
  if (name == "MARK" || name == "CONNMARK") return mark_target(text);
  if (name == "NFQUEUE") return queue(text);
  if (name == "CT" && text.find("notrack") != std::string::npos) return {{"notrack", nullptr}};
  return {};
}

}  // namespace

Json ports_of_words(const std::string& words) {
  static const std::regex one{R"(([0-9]+)(?:[-:]([0-9]+))?)"};
  Json list = Json::array();
  for (auto at = std::sregex_iterator(words.begin(), words.end(), one); at != std::sregex_iterator{}; ++at) {
    const auto first = number((*at)[1].str());
    const auto last = (*at)[2].length() > 0 ? number((*at)[2].str()) : first;
    if (!first || !last || *first > *last || *last > 65535) return {};
    list.push_back(*first == *last ? Json(*first) : Json{{"range", {*first, *last}}});
  }
  if (list.empty()) return {};
  return {{"set", std::move(list)}};
}

void translate_xt(Json& statements, const std::string& text) {
  if (!statements.is_array()) {
    statements = Json::array();
    return;
  }
  for (Json& statement : statements) {
    if (!statement.is_object()) continue;
    const auto xt = statement.find("xt");
    if (xt == statement.end() || !xt->is_object()) continue;
    const auto words = [&](const char* key) {
      const auto found = xt->find(key);
      return found != xt->end() && found->is_string() ? found->get<std::string>() : std::string{};
    };
    if (Json native = translated(words("type"), words("name"), text); !native.is_null())
      statement = std::move(native);
  }
}

}  // namespace icqgate::doctor
