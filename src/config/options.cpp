// SPDX-License-Identifier: GPL-2.0-or-later
#include "config/options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <span>
#include <sstream>

namespace icqgate::config {
namespace {

namespace po = boost::program_options;

const po::options_description& descriptions() {
  static const po::options_description all = [] {
    po::options_description made;
    for (const Key& key : keys()) {
      std::string note;
      if (!key.default_value.empty()) note = fmt::format("default {}", key.default_value);
      if (key.kind == KeyKind::Repeated) note += note.empty() ? "repeatable" : "; repeatable";
      if (!note.empty()) note = fmt::format(" ({})", note);
      made.add_options()(std::string{key.name}.c_str(),
                         po::value<std::string>()->value_name(std::string{key.placeholder}),
                         fmt::format("{}{}", key.help, note).c_str());
    }
    return made;
  }();
  return all;
}

// The key that an argument such as --lan or --lan=eth1 names.
const Key* key_of(std::string_view argument) noexcept {
  if (!argument.starts_with("--")) return nullptr;
  return find_key(argument.substr(
      2, argument.find('=') == std::string_view::npos ? std::string_view::npos : argument.find('=') - 2));
}

// How many arguments at the start of `rest` (not empty) belong to its first one, an option: itself, and its
// value if that stands apart. What starts with "--" is never a value; after yes-or-no options nothing is that
// starts with '-'.
std::size_t extent(std::span<const std::string> rest) noexcept {
  if (rest.size() < 2 || rest[0].find('=') != std::string::npos) return 1;
  const Key* const key = key_of(rest[0]);
  const bool yes_no = key != nullptr && key->kind == KeyKind::YesNo;
  return rest[1].starts_with(yes_no ? "-" : "--") ? 1 : 2;
}

std::optional<Option> parse_option(std::vector<std::string> arguments, ErrorList& errors) {
  using Style = po::command_line_style::style_t;
  // No guessing of shortened names: a new key would change what an old command line means.
  constexpr int kStyle = Style::allow_long | Style::long_allow_adjacent | Style::long_allow_next;

  const std::string shown = arguments.front().substr(0, arguments.front().find('='));
  const Key* const key = key_of(arguments.front());
  if (key != nullptr && key->kind == KeyKind::YesNo && arguments.size() == 1 && shown == arguments.front())
    arguments.front() += "=yes";
  try {
    const auto parsed = po::command_line_parser(arguments).options(descriptions()).style(kStyle).run();
    if (key != nullptr && parsed.options.size() == 1 && parsed.options.front().value.size() == 1)
      return Option{key, parsed.options.front().value.front()};
    errors.add({}, fmt::format("{}: not an option; expected --KEY VALUE", quoted(arguments.front())));
  } catch (const po::error&) {
    // Not its own words: they repeat the argument byte for byte.
    if (key != nullptr) {
      errors.add({}, fmt::format("{}: no value; expected {}", shown, key->expected));
    } else {
      const auto near = nearest_key(std::string_view{shown}.substr(std::min<std::size_t>(shown.size(), 2)));
      errors.add({}, fmt::format("{}: unknown option{}", quoted(shown),
                                 near ? fmt::format("; did you mean --{}?", *near) : ""));
    }
  }
  return std::nullopt;
}

}  // namespace

std::vector<Option> parse_options(const std::vector<std::string>& arguments, ErrorList& errors) {
  std::vector<Option> options;
  for (std::span<const std::string> rest{arguments}; !rest.empty();) {
    const std::size_t count = rest[0].starts_with("--") ? extent(rest) : 1;
    if (auto option = parse_option({rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(count)}, errors))
      options.push_back(std::move(*option));
    rest = rest.subspan(count);
  }
  return options;
}

SplitArguments split_arguments(const std::vector<std::string>& arguments) {
  SplitArguments split;
  for (std::span<const std::string> rest{arguments}; !rest.empty();) {
    if (rest[0] == "--") {
      split.rest.insert(split.rest.end(), rest.begin(), rest.end());
      break;
    }
    const bool ours = key_of(rest[0]) != nullptr;
    auto& side = ours ? split.configuration : split.rest;
    const std::size_t count = ours ? extent(rest) : 1;
    side.insert(side.end(), rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(count));
    rest = rest.subspan(count);
  }
  return split;
}

std::string options_help() {
  std::ostringstream text;
  text << descriptions();
  return text.str();
}

}  // namespace icqgate::config
