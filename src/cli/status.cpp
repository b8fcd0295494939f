// SPDX-License-Identifier: GPL-2.0-or-later
#include <fmt/ostream.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/service_socket.hpp"
#include "cli/status_table.hpp"

namespace icqgate::cli {

namespace po = boost::program_options;

namespace {

void help(const po::options_description& own) {
  std::fputs(
      fmt::format("usage: icqgate status [--json] [--socket PATH | --config FILE]\n\n"
                  "Shows what the running service knows: login servers' addresses, sessions, pinholes, "
                  "counters.\n\n{}\n"
                  "configuration (only socket counts here):\n{}\n"
                  "examples:\n"
                  "  icqgate status\n"
                  "  icqgate status --json | jq '.pinholes[].port'\n",
                  fmt::streamed(own), config::options_help())
          .c_str(),
      stdout);
}

}  // namespace

int status(const std::vector<std::string>& arguments) {
  po::options_description own;
  own.add_options()("json", "as JSON, for programs")(
      "config", po::value<std::string>()->value_name("FILE"),
      fmt::format("the service's configuration, instead of {}", kDefaultFile).c_str())("help,h", "this text");
  const auto given = read_arguments(arguments, own, "");
  if (!given) return wrong_usage("status", given.error());
  if (given->has("help")) {
    help(own);
    return 0;
  }
  const auto failed = [](const std::string& what) {
    std::fputs(("icqgate: " + what + "\n").c_str(), stderr);
    return 1;
  };
  const auto source = read_configuration(given->text("config"), DefaultFile::ReadIfThere);
  if (!source) return failed(source.error());
  const auto config = config::parse(source->text, source->file, given->configuration);
  if (!config) return wrong_configuration(config.error());

  const auto answer = ask_service(config->socket, "status");
  if (!answer)
    return failed(
        fmt::format("no service answers at {}: {}; is it running?", config->socket, answer.error()));
  const auto json = nlohmann::ordered_json::parse(*answer, nullptr, false);
  if (!json.is_object())
    return failed(fmt::format("what answers at {} is not this program's service", config->socket));
  const std::string text =
      given->has("json") ? json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n"
                         : status_table(json);
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    return failed("standard output: cannot be written");
  return 0;
}

}  // namespace icqgate::cli
