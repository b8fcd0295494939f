// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/arguments.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <system_error>

#include "sys/file.hpp"

namespace icqgate::cli {

namespace po = boost::program_options;

namespace {
constexpr std::size_t kMostConfiguration = 1 << 20;
}

std::optional<std::string> Arguments::text(const char* option) const {
  if (!has(option)) return std::nullopt;
  return own[option].as<std::string>();
}

Result<Arguments, std::string> read_arguments(const std::vector<std::string>& arguments,
                                              const po::options_description& own, const char* positional) {
  using Style = po::command_line_style::style_t;
  // No guessing of shortened names, as with the options of the configuration.
  constexpr int kStyle = Style::allow_long | Style::long_allow_adjacent | Style::long_allow_next |
                         Style::allow_short | Style::allow_dash_for_short | Style::short_allow_next;
  auto split = config::split_arguments(arguments);
  po::positional_options_description place;
  if (*positional != '\0') place.add(positional, 1);
  Arguments result;
  result.configuration = std::move(split.configuration);
  try {
    po::store(po::command_line_parser(split.rest).options(own).positional(place).style(kStyle).run(),
              result.own);
  } catch (const po::too_many_positional_options_error&) {
    return tl::make_unexpected(std::string{*positional != '\0' ? "more than one argument without a name"
                                                               : "an argument that is no option"});
  } catch (const po::unknown_option& error) {
    return tl::make_unexpected(fmt::format("unknown option '{}'", error.get_option_name()));
  } catch (const po::error& error) {
    return tl::make_unexpected(std::string{error.what()});
  }
  return result;
}

int wrong_usage(std::string_view command, const std::string& what) {
  std::fputs(fmt::format("icqgate {}: {}; see icqgate {} --help\n", command, what, command).c_str(), stderr);
  return 2;
}

Result<ConfigurationText, std::string> read_configuration(const std::optional<std::string>& named,
                                                          DefaultFile default_file) {
  if (!named && default_file == DefaultFile::Ignore) return ConfigurationText{};
  const std::string file = named.value_or(kDefaultFile);
  auto text = sys::read_file(file, kMostConfiguration);
  if (text) return ConfigurationText{file, std::move(*text)};
  if (!named && text.error().code == ENOENT) return ConfigurationText{};
  return tl::make_unexpected(fmt::format("{}: {}", file, std::generic_category().message(text.error().code)));
}

int wrong_configuration(const std::vector<config::ConfigError>& errors) {
  for (const auto& error : errors) std::fputs(fmt::format("icqgate: {}\n", to_string(error)).c_str(), stderr);
  return std::all_of(errors.begin(), errors.end(), [](const auto& error) { return error.line == 0; }) ? 2 : 1;
}

}  // namespace icqgate::cli
