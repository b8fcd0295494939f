// SPDX-License-Identifier: GPL-2.0-or-later
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "config/config.hpp"
#include "config/consistency.hpp"
#include "config/error_list.hpp"
#include "config/key.hpp"
#include "config/options.hpp"

namespace icqgate::config {
namespace {

constexpr std::size_t kMostLine = 4096;
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
constexpr std::string_view kBlank = " \t";

// Without the blanks around it. What is left still lies in the same text, so that its column can be told.
std::string_view trimmed(std::string_view text) noexcept {
  const auto first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return text.substr(text.size());
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

// Takes off and returns what stands before the first `mark`; all of it if there is none.
std::string_view take_until(std::string_view& text, char mark) noexcept {
  const auto end = text.find(mark);
  const auto head = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return head;
}

bool is_control(char c) noexcept { return (c >= '\0' && c < ' ' && c != '\t') || c == '\x7f'; }

class Parser {
 public:
  explicit Parser(std::string_view file) noexcept : file_{file} {}

  // First, since what it says decides which values of the file count.
  void command_line(const std::vector<std::string>& arguments) {
    const auto options = parse_options(arguments, errors_);
    for (const Option& option : options) overriding_.insert(option.key->name);
    std::set<std::string_view> seen;
    for (const Option& option : options) {
      const bool again = !seen.insert(option.key->name).second;
      if (again && option.key->kind != KeyKind::Repeated) {
        errors_.add({}, fmt::format("--{}: given twice", option.key->name));
        continue;
      }
      values(*option.key, option.value, {}, config_);
    }
  }

  void file(std::string_view text) {
    if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
    while (!text.empty() && !errors_.full()) {
      ++number_;
      line_ = take_until(text, '\n');
      if (line_.ends_with('\r')) line_.remove_suffix(1);
      line();
    }
  }

  Result<Config, std::vector<ConfigError>> finish() && {
    for (const Key& key : keys()) {
      if (said_.values.contains(key.name) || key.default_value.empty()) continue;
      // A default that its own key refuses would be our mistake; a unit test holds that there is none.
      [[maybe_unused]] const auto wrong = key.apply(config_, key.default_value);
    }
    check_consistency(config_, said_, errors_);
    if (!errors_.empty()) return tl::make_unexpected(std::move(errors_).release());
    return std::move(config_);
  }

 private:
  void line() {
    if (line_.size() > kMostLine) {
      return errors_.add(place(line_), fmt::format("the line has {} characters; expected at most {}",
                                                   line_.size(), kMostLine));
    }
    const auto control = std::ranges::find_if(line_, is_control);
    if (control != line_.end()) {
      const auto at = line_.substr(static_cast<std::size_t>(control - line_.begin()));
      return errors_.add(place(at), fmt::format("the control character 0x{:02x}; expected text",
                                                static_cast<unsigned>(*control)));
    }
    auto rest = line_;
    rest = take_until(rest, '#');
    const auto statement = trimmed(rest);
    if (statement.empty()) return;
    if (statement.find('=') == std::string_view::npos) {
      return errors_.add(place(statement),
                         fmt::format("{}: no '='; expected KEY = VALUE", quoted(statement)));
    }
    const auto name = trimmed(take_until(rest, '='));
    if (name.empty()) return errors_.add(place(statement), "no key before '='; expected KEY = VALUE");
    const Key* const key = find_key(name);
    if (key == nullptr) {
      const auto near = nearest_key(name);
      return errors_.add(place(name), fmt::format("unknown key {}{}", quoted(name),
                                                  near ? fmt::format("; did you mean {}?", *near) : ""));
    }
    const auto [first, is_first] = first_line_.try_emplace(key->name, number_);
    if (!is_first && key->kind != KeyKind::Repeated) {
      return errors_.add(place(name),
                         fmt::format("{}: given twice; the first is on line {}", name, first->second));
    }
    // Values that the command line replaces are judged all the same.
    values(*key, rest, file_, overriding_.contains(key->name) ? replaced_ : config_);
  }

  // `from` a file: `text` lies in line_. Otherwise: on the command line.
  void values(const Key& key, std::string_view text, std::optional<std::string_view> from, Config& target) {
    for (bool more = true; more;) {
      more = key.kind == KeyKind::Repeated && text.find(',') != std::string_view::npos;
      const auto part = trimmed(more ? take_until(text, ',') : text);
      const Place at = from ? place(part) : Place{};
      const auto wrong =
          part.empty() ? std::optional<std::string>{"an empty value"} : key.apply(target, part);
      if (wrong) {
        errors_.add_value(at, key.name, part, *wrong, key.expected);
        said_.wrong.insert(key.name);
      } else if (&target == &config_) {
        said_.values[key.name].push_back({std::string{part}, at});
      }
    }
  }

  // Columns count characters of UTF-8, as editors do, not bytes.
  [[nodiscard]] Place place(std::string_view part) const {
    const auto before = line_.substr(0, static_cast<std::size_t>(part.data() - line_.data()));
    const auto characters = std::ranges::count_if(before, [](char c) { return (c & 0xc0) != 0x80; });
    return {file_, number_, static_cast<std::size_t>(characters) + 1};
  }

  std::string_view file_;
  std::string_view line_;
  std::size_t number_ = 0;
  std::map<std::string_view, std::size_t> first_line_;  // of each key in the file
  std::set<std::string_view> overriding_;               // keys that the command line sets
  Config config_;
  Config replaced_;  // takes what the command line replaces, and is thrown away
  Said said_;
  ErrorList errors_;
};

}  // namespace

Result<Config, std::vector<ConfigError>> parse(std::string_view text, std::string_view file,
                                               const std::vector<std::string>& arguments) {
  Parser parser{file};
  parser.command_line(arguments);
  parser.file(text);
  return std::move(parser).finish();
}

}  // namespace icqgate::config
