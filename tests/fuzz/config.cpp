// needs: config
// SPDX-License-Identifier: GPL-2.0-or-later
#include "config/config.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdlib>

namespace {

using namespace icqgate;

void require(bool holds) {
  if (!holds) std::abort();
}

bool is_shown(char c) { return c >= ' ' && c <= '~'; }

void check_config(const config::Config& config) {
  using std::chrono::seconds;
  require(!config.login_hosts.empty() && !config.login_ports.empty());
  require(!config.lan.empty() && !config.wan.empty());
  for (const auto* names : {&config.lan, &config.wan}) {
    for (const auto& name : *names)
      require(!name.empty() && name.size() <= 15 && std::ranges::all_of(name, is_shown) &&
              name.find('"') == std::string::npos);
  }
  require(config.port_range.first >= Port{1024} && config.port_range.first <= config.port_range.last);
  require(config.ports_per_client >= 1 && config.ports_per_client <= 64);
  require(config.ttl_min >= seconds{1} && config.ttl_min <= config.ttl_max);
  require(config.ttl_max <= std::chrono::days{30} && config.keep >= seconds{0});
  require(std::popcount(config.mark_mask) >= 2);
  require(config.queue_control != config.queue_peer);
  require(config.priority >= -400 && config.priority <= 400);
  require(!config.table.empty() && config.table.size() <= 31);
  require(config::is_denied(Port{1023}, config));
}

void check_errors(const std::vector<config::ConfigError>& errors) {
  require(!errors.empty() && errors.size() <= 21);
  for (const auto& error : errors) {
    require((error.line == 0) == (error.column == 0));
    require((error.line == 0) == error.file.empty());
    require(!error.message.empty() && error.message.size() < 512);
    require(std::ranges::all_of(config::to_string(error), is_shown));
  }
}

}  // namespace

// The file, then the arguments, parted by bytes 0x1d.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::string> parts(1);
  for (std::size_t i = 0; i < size; ++i) {
    if (data[i] == 0x1d) {
      parts.emplace_back();
    } else {
      parts.back().push_back(static_cast<char>(data[i]));
    }
  }
  const std::string text = parts.front();
  const std::vector<std::string> arguments(parts.begin() + 1, parts.end());

  const auto split = config::split_arguments(arguments);
  require(split.configuration.size() + split.rest.size() == arguments.size());
  for (const auto& chosen : {split.configuration, arguments}) {
    const auto config = config::parse(text, "fuzz", chosen);
    if (config) {
      check_config(*config);
    } else {
      check_errors(config.error());
    }
    // Line ends of the other kind change nothing.
    std::string windows;
    for (const char c : text) windows += c == '\n' ? std::string{"\r\n"} : std::string{c};
    if (text.find('\r') != std::string::npos) continue;
    const auto again = config::parse(windows, "fuzz", chosen);
    require(config.has_value() == again.has_value());
    if (config) require(*config == *again);
    if (!config) require(config.error().size() == again.error().size());
  }
  return 0;
}
