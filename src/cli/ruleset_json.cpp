// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/ruleset_json.hpp"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

namespace icqgate::cli {

namespace {

using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;

// Parted by blanks; braces and commas stand alone, but not within a number or a list such as
// established,related. What is in quotes is one word, with its opening quote.
Words words_of(std::string_view line) {
  Words words;
  std::string word;
  const auto end = [&] {
    if (!word.empty()) words.push_back(std::move(word));
    word.clear();
  };
  for (std::size_t at = 0; at < line.size(); ++at) {
    const char c = line[at];
    if (c == '"') {
      const auto close = std::min(line.find('"', at + 1), line.size());
      words.emplace_back(line.substr(at, close - at));
      at = close;
    } else if (c == ' ' || c == '\t') {
      end();
    } else if (c == ',' && (at + 1 == line.size() || line[at + 1] == ' ')) {
      end();
      words.emplace_back(",");
    } else {
      word += c;
    }
  }
  end();
  return words;
}

std::optional<std::uint32_t> number_of(std::string_view text) {
  const bool hex = text.starts_with("0x");
  if (hex) text.remove_prefix(2);
  std::uint32_t number = 0;
  const char* const last = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), last, number, hex ? 16 : 10);
  if (error != std::errc{} || stop != last) return std::nullopt;
  return number;
}

Json object(const char* key, Json value) { return Json{{key, std::move(value)}}; }

Json number_or_text(std::string_view text) {
  if (const auto number = number_of(text)) return *number;
  return std::string{text};
}

// One value: 5190, 24000-24009, 192.168.1.0/24, "eth0", syn, @set.
Json value_of(std::string_view word) {
  if (word.starts_with('"')) return std::string{word.substr(1)};
  if (const auto slash = word.find('/'); slash != std::string_view::npos)
    return object("prefix", {{"addr", std::string{word.substr(0, slash)}},
                             {"len", number_or_text(word.substr(slash + 1))}});
  if (const auto dash = word.find('-'); dash != std::string_view::npos)
    if (const auto first = number_of(word.substr(0, dash)))
      return object("range", Json::array({*first, number_or_text(word.substr(dash + 1))}));
  return number_or_text(word);
}

// The words of a line, read from the left.
class Reader {
 public:
  explicit Reader(const Words& words) : words_{words} {}
  [[nodiscard]] bool done() const { return at_ == words_.size(); }
  [[nodiscard]] std::string_view peek(std::size_t ahead = 0) const {
    return at_ + ahead < words_.size() ? std::string_view{words_[at_ + ahead]} : std::string_view{};
  }
  std::string_view take() {
    return at_ < words_.size() ? std::string_view{words_[at_++]} : std::string_view{};
  }
  bool take(std::string_view word) {
    if (peek() != word) return false;
    ++at_;
    return true;
  }
  // All of them, in order, or none.
  bool take_all(std::initializer_list<std::string_view> wanted) {
    std::size_t ahead = 0;
    for (const auto word : wanted)
      if (peek(ahead++) != word) return false;
    at_ += wanted.size();
    return true;
  }

 private:
  const Words& words_;
  std::size_t at_ = 0;
};

Json right_side(Reader& words) {
  if (!words.take("{")) return value_of(words.take());
  Json list = Json::array();
  while (!words.done() && !words.take("}")) {
    if (!words.take(",")) list.push_back(value_of(words.take()));
  }
  return object("set", std::move(list));
}

Json match(Json left, Json right, const char* op = "==") {
  return object("match", {{"op", op}, {"left", std::move(left)}, {"right", std::move(right)}});
}

Json of_packet(std::string_view protocol, std::string_view field) {
  return object("payload", {{"protocol", std::string{protocol}}, {"field", std::string{field}}});
}

bool is_protocol(std::string_view word) {
  return word == "ip" || word == "ip6" || word == "tcp" || word == "udp" || word == "icmp" ||
         word == "icmpv6";
}

// "ct mark" or "meta mark": tested, or set to itself with other bits.
Json mark(std::string_view of, Reader& words) {
  const Json key = object(std::string{of}.c_str(), object("key", "mark"));
  if (words.take("set")) {
    words.take();  // ct or meta, and mark: the same again
    words.take();
    words.take("&");
    const Json kept = value_of(words.take());
    words.take("|");
    return object("mangle", {{"key", key},
                             {"value", object("|", Json::array({object("&", Json::array({key, kept})),
                                                                value_of(words.take())}))}});
  }
  words.take("&");
  const Json mask = value_of(words.take());
  words.take("==");
  return match(object("&", Json::array({key, mask})), value_of(words.take()));
}

std::optional<Json> ct(Reader& words) {
  const auto key = std::string{words.take()};
  if (key == "mark") return mark("ct", words);
  const Json left = object("ct", object("key", key));
  if (key == "direction") return match(left, right_side(words));
  if (key != "state" && key != "status") return std::nullopt;
  Json flags = Json::array();
  for (std::string_view rest = words.take(); !rest.empty();) {
    const auto comma = std::min(rest.find(','), rest.size());
    flags.push_back(std::string{rest.substr(0, comma)});
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return match(left, flags.size() == 1 ? flags[0] : flags, "in");
}

std::optional<Json> fib(Reader& words) {
  Json flags = Json::array({std::string{words.take()}});
  if (words.take(".")) flags.push_back(std::string{words.take()});
  const auto result = std::string{words.take()};
  const Json left = object("fib", {{"result", result}, {"flags", flags}});
  if (words.take("missing")) return match(left, false);
  return match(left, right_side(words));
}

std::optional<Json> payload(Reader& words) {
  const auto protocol = words.take();
  const auto field = words.take();
  Json left = of_packet(protocol, field);
  if (protocol == "tcp" && field == "flags") {
    if (!words.take_all({"&", "(fin", "|", "syn", "|", "rst", "|", "ack)", "==", "syn"})) return std::nullopt;
    return match(object("&", Json::array({left, Json::array({"fin", "syn", "rst", "ack"})})), "syn");
  }
  if (words.take(".")) {
    const auto second = words.take();
    left = object("concat", Json::array({left, of_packet(second, words.take())}));
  }
  return match(std::move(left), right_side(words));
}

// What stands next in a rule; nullopt: no words for that.
std::optional<Json> statement(Reader& words) {
  if (is_protocol(words.peek())) return payload(words);
  const auto word = words.take();
  if (word == "ct") return ct(words);
  if (word == "fib") return fib(words);
  if (word == "iifname" || word == "oifname") {
    const bool other = words.take("!=");
    return match(object("meta", object("key", std::string{word})), right_side(words), other ? "!=" : "==");
  }
  if (word == "meta") {
    const auto key = std::string{words.take()};
    if (key == "mark") return mark("meta", words);
    return match(object("meta", object("key", key)), right_side(words));
  }
  if (word == "accept" || word == "drop" || word == "return" || word == "masquerade")
    return object(std::string{word}.c_str(), nullptr);
  if (word == "counter") return object("counter", nullptr);
  if (word == "goto" || word == "jump")
    return object(std::string{word}.c_str(), object("target", std::string{words.take()}));
  if (word == "reject" && words.take_all({"with", "tcp", "reset"}))
    return object("reject", object("type", "tcp reset"));
  if (word == "dnat" && words.take_all({"ip", "to", "tcp", "dport", "map"}))
    return object(
        "dnat",
        {{"family", "ip"},
         {"addr", object("map", {{"key", of_packet("tcp", "dport")}, {"data", std::string{words.take()}}})}});
  return std::nullopt;
}

// "192.0.2.5 . 5190", "24000-24009 : 192.168.1.10", each with a comment or without.
Json element(Reader& words) {
  Json value = value_of(words.take());
  if (words.take(".")) value = object("concat", Json::array({value, value_of(words.take())}));
  if (words.take("comment"))
    value = object("elem", {{"val", value}, {"comment", std::string{words.take().substr(1)}}});
  if (words.take(":")) return Json::array({value, value_of(words.take())});
  return value;
}

Json type_of(Reader& words) {
  Json types = Json::array({std::string{words.take()}});
  while (words.take(".")) types.push_back(std::string{words.take()});
  return types.size() == 1 ? types[0] : types;
}

class Translation {
 public:
  // false: no words for this line.
  bool line(std::string_view text) {
    const Words all = words_of(text);
    Reader words{all};
    if (words.done() || words.peek().starts_with('#')) return true;
    if (words.take("}")) {
      if (block_.is_object()) close();
      return true;
    }
    if (continued_) return elements(words);
    if (words.take("table")) {
      words.take("inet");
      table_ = words.take();
      return words.take("{") && words.done();
    }
    if (!block_.is_object()) {
      kind_ = words.take();
      if (kind_ != "set" && kind_ != "map" && kind_ != "chain") return false;
      block_ = Json{{"family", "inet"}, {"table", table_}, {"name", std::string{words.take()}}};
      return words.take("{");
    }
    return kind_ == "chain" ? rule(words) : property(words);
  }

  [[nodiscard]] std::string text() const {
    const Json table{{"table", Json{{"family", "inet"}, {"name", table_}}}};
    Json commands = Json::array({Json{{"metainfo", Json{{"json_schema_version", 1}}}}});
    for (const char* const command : {"add", "delete", "add"}) commands.push_back(Json{{command, table}});
    for (const auto* const list : {&blocks_, &rules_})
      for (const Json& one : *list) commands.push_back(Json{{"add", one}});
    // One command a line: a reader can compare two of these.
    std::string text = "{\"nftables\": [\n";
    for (const Json& command : commands)
      text += command.dump() + (&command == &commands.back() ? "\n" : ",\n");
    return text + "]}\n";
  }

 private:
  bool property(Reader& words) {
    if (words.take("type")) {
      block_["type"] = type_of(words);
      if (words.take(":")) block_["map"] = type_of(words);
    } else if (words.take("flags")) {
      block_["flags"] = Json::array({std::string{words.take()}});
    } else if (words.take_all({"elements", "=", "{"})) {
      return elements(words);
    }
    return words.done();
  }
  bool elements(Reader& words) {
    continued_ = true;
    while (!words.done()) {
      if (words.take(",")) continue;
      if (words.take("}")) {
        continued_ = false;
        break;
      }
      block_["elem"].push_back(element(words));
    }
    return words.done();
  }
  bool rule(Reader& words) {
    if (words.take("type")) {  // filter hook forward priority mangle + 5; policy accept;
      block_["type"] = std::string{words.take()};
      words.take("hook");
      block_["hook"] = std::string{words.take()};
      words.take("priority");
      const auto priority = priority_of(words);
      if (!priority || !words.take("policy")) return false;
      block_["prio"] = *priority;
      auto policy = words.take();
      policy.remove_suffix(1);
      block_["policy"] = std::string{policy};
      return words.done();
    }
    Json rule{{"family", "inet"}, {"table", table_}, {"chain", block_["name"]}};
    Json statements = Json::array();
    while (!words.done()) {
      if (words.take("comment")) {
        rule["comment"] = std::string{words.take().substr(1)};
        continue;
      }
      auto one = statement(words);
      if (!one) return false;
      statements.push_back(std::move(*one));
    }
    rule["expr"] = std::move(statements);
    rules_.push_back(object("rule", std::move(rule)));
    return true;
  }
  // nft 1.0.6 takes numbers only.
  static std::optional<std::int64_t> priority_of(Reader& words) {
    auto base = std::string{words.take()};
    const bool ends = base.ends_with(';');
    if (ends) base.pop_back();
    std::int64_t priority = 0;
    if (base == "mangle") {
      priority = -150;
    } else if (base == "dstnat") {
      priority = -100;
    } else if (base == "srcnat") {
      priority = 100;
    } else {
      const bool negative = base.starts_with('-');
      const auto number = number_of(negative ? base.substr(1) : base);
      if (!number) return std::nullopt;
      priority = negative ? -std::int64_t{*number} : std::int64_t{*number};
    }
    if (ends) return priority;
    if (!words.take("+")) return std::nullopt;
    auto more = words.take();
    if (!more.ends_with(';')) return std::nullopt;
    more.remove_suffix(1);
    const auto number = number_of(more);
    if (!number) return std::nullopt;
    return priority + *number;
  }
  void close() {
    blocks_.push_back(object(kind_.c_str(), std::move(block_)));
    block_ = nullptr;
  }

  std::string table_, kind_;
  Json block_;              // the set, map or chain that the lines are of
  bool continued_ = false;  // its elements go on in the next line
  std::vector<Json> blocks_, rules_;
};

}  // namespace

Result<std::string, std::string> ruleset_json(std::string_view table) {
  Translation translation;
  while (!table.empty()) {
    const auto end = std::min(table.find('\n'), table.size());
    const auto line = table.substr(0, end);
    if (!translation.line(line))
      return tl::make_unexpected("there is no JSON for the line: " + std::string{line});
    table.remove_prefix(std::min(end + 1, table.size()));
  }
  return translation.text();
}

}  // namespace icqgate::cli
