// SPDX-License-Identifier: GPL-2.0-or-later
#include <array>
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "cli/commands.hpp"
#include "daemon/run.hpp"

namespace {

struct Command {
  std::string_view name;
  int (*function)(const std::vector<std::string>&);
  std::string_view summary;
};

constexpr std::array<Command, 6> kCommands{{
    {"run", &icqgate::daemon::run, "follow sessions, open what they need, check who comes (the service)"},
    {"emit", &icqgate::cli::emit, "print a static nftables ruleset"},
    {"check", &icqgate::cli::check, "check the configuration"},
    {"doctor", &icqgate::cli::doctor, "look for what is in ICQ's way on this host, and say what helps"},
    {"status", &icqgate::cli::status, "show what the running service knows"},
    {"trace", &icqgate::cli::trace, "run the same engine over a capture file"},
}};

void usage(std::FILE* stream) {
  std::fputs("usage: icqgate COMMAND [OPTIONS]\n\ncommands:\n", stream);
  for (const Command& command : kCommands)
    std::fprintf(stream, "  %-8s %s\n", command.name.data(), command.summary.data());
  std::fputs("\n`icqgate COMMAND --help` tells more; `icqgate --version` the version.\n", stream);
}

}  // namespace

int main(int count, char** values) {
  const std::vector<std::string> arguments(values + 1, values + count);
  if (arguments.empty()) {
    usage(stderr);
    return 2;
  }
  if (arguments[0] == "--help" || arguments[0] == "-h" || arguments[0] == "help") {
    usage(stdout);
    return 0;
  }
  if (arguments[0] == "--version" || arguments[0] == "-V") {
    std::puts("icqgate " ICQGATE_VERSION);
    return 0;
  }
  for (const Command& command : kCommands) {
    if (command.name != arguments[0]) continue;
    try {
      return command.function({arguments.begin() + 1, arguments.end()});
    } catch (const std::exception& error) {
      // None of ours is thrown; a library's (out of memory, say) must not end as a stack trace.
      std::fprintf(stderr, "icqgate: %s\n", error.what());
      return 1;
    }
  }
  std::fprintf(stderr, "icqgate: '%s' is no command of icqgate; see icqgate --help\n", arguments[0].c_str());
  return 2;
}
