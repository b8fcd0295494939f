// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <boost/program_options.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "config/config.hpp"

namespace icqgate::cli {

// A subcommand's command line: its own options, judged, and the configuration's, not yet judged.
struct Arguments {
  boost::program_options::variables_map own;
  std::vector<std::string> configuration;

  [[nodiscard]] bool has(const char* option) const { return own.count(option) > 0; }
  // The value of an option that takes a text.
  [[nodiscard]] std::optional<std::string> text(const char* option) const;
};

// `own`: the subcommand's options. `positional`: the name of the one that may be given without its name, ""
// for none. The error is one sentence.
[[nodiscard]] Result<Arguments, std::string> read_arguments(
    const std::vector<std::string>& arguments, const boost::program_options::options_description& own,
    const char* positional);

// Tells what is wrong on stderr; -> the exit code for it.
int wrong_usage(std::string_view command, const std::string& what);

// Whether /etc/icqgate/icqgate.conf is read when no file is named.
enum class DefaultFile { Ignore, ReadIfThere };
inline constexpr const char* kDefaultFile = "/etc/icqgate/icqgate.conf";

struct ConfigurationText {
  std::string file;  // "" if there is none
  std::string text;
};
// The error is one sentence with the file's name in it.
[[nodiscard]] Result<ConfigurationText, std::string> read_configuration(
    const std::optional<std::string>& named, DefaultFile default_file);

// All errors to stderr; -> 2 if each of them is one of the command line, else 1.
int wrong_configuration(const std::vector<config::ConfigError>& errors);

}  // namespace icqgate::cli
