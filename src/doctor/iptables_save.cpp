// SPDX-License-Identifier: GPL-2.0-or-later
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string>

#include "doctor/ruleset.hpp"
#include "doctor/xt_words.hpp"

namespace icqgate::doctor {

namespace {

// iptables-save quotes as a shell does, with double quotes only.
std::vector<std::string> split(std::string_view line) {
  std::vector<std::string> words;
  std::string word;
  bool quoted = false, any = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (c == '"') {
      quoted = !quoted;
      any = true;
    } else if (c == '\\' && quoted && i + 1 < line.size()) {
      word += line[++i];
    } else if (c == ' ' && !quoted) {
      if (any) words.push_back(std::move(word));
      word.clear();
      any = false;
    } else {
      word += c;
      any = true;
    }
  }
  if (any) words.push_back(std::move(word));
  return words;
}

Json unknown(const std::string& what) { return {{"xt", {{"type", "match"}, {"name", what}}}}; }

// "0x0/0x6000000" -> value, mask
std::optional<std::pair<std::uint32_t, std::uint32_t>> mark_of(const std::string& words) {
  const auto slash = words.find('/');
  const auto number = [](std::string_view text) -> std::optional<std::uint32_t> {
    const bool hex = text.starts_with("0x");
    if (hex) text.remove_prefix(2);
    std::uint32_t value = 0;
    const auto done = std::from_chars(text.data(), text.data() + text.size(), value, hex ? 16 : 10);
    if (done.ec != std::errc{} || done.ptr != text.data() + text.size()) return std::nullopt;
    return value;
  };
  const auto value = number(std::string_view{words}.substr(0, slash));
  const auto mask = slash == std::string::npos ? std::optional<std::uint32_t>{0xffffffff}
                                               : number(std::string_view{words}.substr(slash + 1));
  if (!value || !mask) return std::nullopt;
  return std::pair{*value, *mask};
}

class Words {
 public:
  explicit Words(std::vector<std::string> words) : words_{std::move(words)} {}

  Json statements() {
    Json list = Json::array();
    while (at_ < words_.size()) list.push_back(one());
    return list;
  }

 private:
  std::string next() { return at_ < words_.size() ? words_[at_++] : std::string{}; }

  Json match(Json left, Json right) const {
    return {
        {"match", {{"op", negated_ ? "!=" : "=="}, {"left", std::move(left)}, {"right", std::move(right)}}}};
  }

  Json one() {
    std::string word = next();
    negated_ = word == "!";
    if (negated_) word = next();
    if (word == "-m") {
      module_ = next();
      return {{"counter", nullptr}};  // its options tell what it tests
    }
    if (word == "-i" || word == "-o") {
      std::string device = next();
      if (device.ends_with('+')) device.back() = '*';
      return match({{"meta", {{"key", word == "-i" ? "iifname" : "oifname"}}}}, device);
    }
    if (word == "-p") {
      protocol_ = next();
      return match({{"meta", {{"key", "l4proto"}}}}, protocol_);
    }
    if (word == "-s" || word == "-d") return address(word == "-s" ? "saddr" : "daddr", next());
    if (word == "--sport" || word == "--sports" || word == "--dport" || word == "--dports") {
      Json ports = ports_of_words(next());
      if (ports.is_null()) return unknown("ports");
      return match({{"payload", {{"protocol", protocol_}, {"field", word.substr(2, 5)}}}}, std::move(ports));
    }
    if (word == "--ctstate" || word == "--state" || word == "--ctstatus") return states(word, next());
    if (word == "--mark" && (module_ == "mark" || module_ == "connmark")) {
      const auto mark = mark_of(next());
      if (!mark) return unknown("mark");
      const Json key{{module_ == "mark" ? "meta" : "ct", {{"key", "mark"}}}};
      return match({{"&", Json::array({key, mark->second})}}, mark->first);
    }
    if (word == "--comment") {
      next();
      return {{"counter", nullptr}};
    }
    if (word == "-j" || word == "-g") return verdict(next(), word == "-g");
    if (module_ == "tcp" && word == "--tcp-flags") next();  // two values
    if (word.starts_with("--") && at_ < words_.size() && !words_[at_].starts_with('-') && words_[at_] != "!")
      next();
    return unknown(word);
  }

  Json address(const char* field, const std::string& value) const {
    const auto slash = value.find('/');
    const std::string host = value.substr(0, slash);
    const Json left{
        {"payload", {{"protocol", host.find(':') == std::string::npos ? "ip" : "ip6"}, {"field", field}}}};
    if (slash == std::string::npos) return match(left, host);
    const std::string length = value.substr(slash + 1);
    int bits = -1;
    const auto done = std::from_chars(length.data(), length.data() + length.size(), bits);
    if (done.ptr != length.data() + length.size()) return unknown("mask");
    return match(left, {{"prefix", {{"addr", host}, {"len", bits}}}});
  }

  Json states(const std::string& option, std::string list) const {
    std::transform(list.begin(), list.end(), list.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    Json words = Json::array();
    for (std::size_t at = 0; at < list.size();) {
      const auto end = std::min(list.find(',', at), list.size());
      words.push_back(list.substr(at, end - at));
      at = end + 1;
    }
    return match({{"ct", {{"key", option == "--ctstatus" ? "status" : "state"}}}}, std::move(words));
  }

  // What stands behind a target is its own.
  Json verdict(const std::string& name, bool is_goto) {
    std::vector<std::string> options(words_.begin() + static_cast<std::ptrdiff_t>(at_), words_.end());
    at_ = words_.size();
    if (name == "ACCEPT") return {{"accept", nullptr}};
    if (name == "DROP") return {{"drop", nullptr}};
    if (name == "RETURN") return {{"return", nullptr}};
    if (name == "REJECT") return {{"reject", nullptr}};
    if (name == "DNAT") return {{"dnat", nullptr}};
    if (name == "REDIRECT") return {{"redirect", nullptr}};
    if (name == "MASQUERADE" || name == "SNAT") return {{"masquerade", nullptr}};
    if (name == "LOG" || name == "NFLOG" || name == "TCPMSS") return {{"log", nullptr}};
    if (name == "NOTRACK" || (name == "CT" && options == std::vector<std::string>{"--notrack"}))
      return {{"notrack", nullptr}};
    if (name == "MARK" && options.size() == 2 && options[0] == "--set-xmark")
      if (const auto mark = mark_of(options[1])) return set_mark("meta", "meta", ~mark->second, mark->first);
    if (name == "CONNMARK" && options.size() == 2 && options[0] == "--set-xmark")
      if (const auto mark = mark_of(options[1])) return set_mark("ct", "ct", ~mark->second, mark->first);
    if (name == "CONNMARK" && options.size() == 5 && options[1] == "--nfmask" && options[3] == "--ctmask") {
      const auto packet = mark_of(options[2]), flow = mark_of(options[4]);
      if (packet && flow && options[0] == "--save-mark") return set_mark("ct", "ct", ~flow->first, 0);
      if (packet && flow && options[0] == "--restore-mark")
        return set_mark("meta", "meta", ~packet->first, 0);
    }
    const bool extension = std::all_of(name.begin(), name.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
    if (extension && !options.empty()) return {{"xt", {{"type", "target"}, {"name", name}}}};
    return {{is_goto ? "goto" : "jump", {{"target", name}}}};
  }

  static Json set_mark(const char* where, const char* from, std::uint32_t kept, std::uint32_t set) {
    const Json kept_bits{{"&", Json::array({{{from, {{"key", "mark"}}}}, kept})}};
    return {{"mangle",
             {{"key", {{where, {{"key", "mark"}}}}}, {"value", {{"|", Json::array({kept_bits, set})}}}}}};
  }

  std::vector<std::string> words_;
  std::size_t at_ = 0;
  bool negated_ = false;
  std::string module_, protocol_ = "th";
};

std::optional<Base> base_of(const std::string& table, const std::string& chain, bool drops) {
  const auto priority = [&] {
    if (table == "raw") return -300;
    if (table == "mangle") return -150;
    if (table == "nat") return chain == "PREROUTING" || chain == "OUTPUT" ? -100 : 100;
    return table == "security" ? 50 : 0;
  };
  for (const char* hook : {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}) {
    if (chain != hook) continue;
    std::string lower = chain;
    for (char& c : lower) c = static_cast<char>(c - 'A' + 'a');
    return Base{table == "nat" ? "nat" : "filter", lower, priority(), drops, {}};
  }
  return std::nullopt;
}

}  // namespace

void add_iptables_save(Ruleset& ruleset, std::string_view text, const std::string& family) {
  std::string table;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    const auto line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.starts_with('*')) {
      table = line.substr(1);
    } else if (line.starts_with(':')) {
      const auto words = split(line.substr(1));
      if (words.size() < 2) continue;
      // not to be taken for the nft table of the same name
      Chain chain{family,   table + " (iptables-legacy)",
                  words[0], Tool::IptablesLegacy,
                  false,    base_of(table, words[0], words[1] == "DROP"),
                  {}};
      auto key = name_of(chain);
      ruleset.chains.insert_or_assign(std::move(key), std::move(chain));
    } else if (line.starts_with("-A ")) {
      auto words = split(line);
      if (words.size() < 3) continue;
      const auto found = ruleset.chains.find({family, table + " (iptables-legacy)", words[1]});
      if (found == ruleset.chains.end()) continue;
      words.erase(words.begin(), words.begin() + 2);
      found->second.rules.push_back({0, Words{std::move(words)}.statements(), std::string{line}});
    }
  }
}

}  // namespace icqgate::doctor
