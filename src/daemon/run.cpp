// SPDX-License-Identifier: GPL-2.0-or-later
#include "daemon/run.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "config/config.hpp"
#include "daemon/service.hpp"
#include "sys/file.hpp"
#include "sys/log.hpp"

namespace icqgate::daemon {

namespace {

constexpr const char* kDefaultFile = "/etc/icqgate/icqgate.conf";

void usage() {
  std::printf(
      "usage: icqgate run [--config FILE] [--verbose] [OPTIONS]\n\n"
      "Follows ICQ sessions through this gateway, opens the ports that logged-in clients announce, and lets "
      "in only\n"
      "peers who prove themselves. Stays in the foreground; SIGTERM or SIGINT end it. Needs "
      "CAP_NET_ADMIN.\n\n"
      "  --config FILE    read FILE instead of %s (no file there: defaults)\n"
      "  --verbose        log every step of every session\n"
      "  --help           this text\n\n"
      "configuration, as KEY = VALUE in the file or here:\n%s",
      kDefaultFile, config::options_help().c_str());
}

int wrong(const std::string& what) {
  std::fprintf(stderr, "icqgate run: %s; see icqgate run --help\n", what.c_str());
  return 2;
}

}  // namespace

int run(const std::vector<std::string>& arguments) {
  const auto split = config::split_arguments(arguments);
  std::string file = kDefaultFile;
  bool named = false;
  for (std::size_t i = 0; i < split.rest.size(); ++i) {
    const std::string& word = split.rest[i];
    if (word == "--help" || word == "-h") {
      usage();
      return 0;
    }
    if (word == "--verbose" || word == "-v") {
      sys::set_log_level(sys::LogLevel::Debug);
    } else if (word == "--config" && i + 1 < split.rest.size()) {
      file = split.rest[++i];
      named = true;
    } else if (word.starts_with("--config=")) {
      file = word.substr(9);
      named = true;
    } else {
      return wrong("'" + word + "' is no option");
    }
  }
  std::string text;
  if (named || std::filesystem::exists(file)) {
    constexpr std::size_t kMost = 1 << 20;
    auto read = sys::read_file(file, kMost);
    if (!read) {
      std::fprintf(stderr, "icqgate: %s: %s\n", file.c_str(), to_string(read.error()).c_str());
      return 1;
    }
    text = std::move(*read);
  } else {
    file.clear();
  }
  const auto config = config::parse(text, file, split.configuration);
  if (!config) {
    for (const auto& error : config.error()) std::fprintf(stderr, "icqgate: %s\n", to_string(error).c_str());
    const auto& errors = config.error();
    const bool usage_only =
        std::all_of(errors.begin(), errors.end(), [](const auto& one) { return one.line == 0; });
    return usage_only ? 2 : 1;
  }
  auto service = Service::start(*config);
  if (!service) {
    std::fprintf(stderr, "icqgate: %s\n", service.error().c_str());
    return 1;
  }
  return (*service)->run() ? 0 : 1;
}

}  // namespace icqgate::daemon
