// SPDX-License-Identifier: GPL-2.0-or-later
#include "daemon/run.hpp"

#include <algorithm>
#include <csignal>
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

struct ReadError {
  std::string text;
  bool usage = false;  // all that is wrong stands on the command line
};

// What the configuration is read from, each time anew: the file (if it is there, or was named) and the
// command line over it.
struct Source {
  std::string file = kDefaultFile;
  bool named = false;
  std::vector<std::string> options;
  bool was_there = false;  // the file, when read last
};

Result<config::Config, std::vector<ReadError>> read_config(Source& source) {
  constexpr std::size_t kMost = 1 << 20;
  const std::string& file = source.file;
  const auto failed = [&file](const std::string& why) {
    return tl::make_unexpected(std::vector{ReadError{file + ": " + why, false}});
  };
  std::string text;
  std::error_code unreadable;  // read_file() says it better
  const bool there = source.named || std::filesystem::exists(file, unreadable) || unreadable;
  if (there) {
    auto read = sys::read_file(file, kMost);
    if (!read) return failed(to_string(read.error()));
    text = std::move(*read);
  } else if (source.was_there) {
    return failed("was there before and is gone; the defaults, any client among them, take a restart");
  }
  auto config = config::parse(text, there ? file : "", source.options);
  if (config) {
    source.was_there = there;
    return std::move(*config);
  }
  const auto& found = config.error();
  const bool usage = std::all_of(found.begin(), found.end(), [](const auto& one) { return one.line == 0; });
  std::vector<ReadError> errors;
  for (const auto& error : found) errors.push_back({to_string(error), usage});
  return tl::make_unexpected(std::move(errors));
}

// Until the service handles it SIGHUP would end the process: a reload asked for while it starts is to wait.
void hang_up_signal(int how) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGHUP);
  pthread_sigmask(how, &signals, nullptr);
}

int wrong(const std::string& what) {
  std::fprintf(stderr, "icqgate run: %s; see icqgate run --help\n", what.c_str());
  return 2;
}

}  // namespace

int run(const std::vector<std::string>& arguments) {
  hang_up_signal(SIG_BLOCK);
  const auto split = config::split_arguments(arguments);
  Source source{.options = split.configuration};
  for (std::size_t i = 0; i < split.rest.size(); ++i) {
    const std::string& word = split.rest[i];
    if (word == "--help" || word == "-h") {
      usage();
      return 0;
    }
    if (word == "--verbose" || word == "-v") {
      sys::set_log_level(sys::LogLevel::Debug);
    } else if (word == "--config" && i + 1 < split.rest.size()) {
      source.file = split.rest[++i];
      source.named = true;
    } else if (word.starts_with("--config=")) {
      source.file = word.substr(9);
      source.named = true;
    } else {
      return wrong("'" + word + "' is no option");
    }
  }
  const auto config = read_config(source);
  if (!config) {
    for (const auto& error : config.error()) std::fprintf(stderr, "icqgate: %s\n", error.text.c_str());
    return config.error().front().usage ? 2 : 1;
  }
  const auto again = [source]() mutable -> Result<config::Config, std::vector<std::string>> {
    auto next = read_config(source);
    if (next) return std::move(*next);
    std::vector<std::string> words;
    for (auto& error : next.error()) words.push_back(std::move(error.text));
    return tl::make_unexpected(std::move(words));
  };
  auto service = Service::start(*config, again);
  if (!service) {
    std::fprintf(stderr, "icqgate: %s\n", service.error().c_str());
    return 1;
  }
  hang_up_signal(SIG_UNBLOCK);  // no thread has been started yet that could have inherited the mask
  return (*service)->run() ? 0 : 1;
}

}  // namespace icqgate::daemon
