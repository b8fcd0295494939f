// SPDX-License-Identifier: GPL-2.0-or-later
#include <fmt/chrono.h>
#include <fmt/ostream.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/emit_header.hpp"
#include "cli/emit_profile.hpp"
#include "cli/emit_text.hpp"
#include "cli/integration.hpp"
#include "cli/login_addresses.hpp"
#include "cli/replacement.hpp"
#include "cli/ruleset_json.hpp"
#include "config/ruleset_options.hpp"
#include "config/static_options.hpp"
#include "sys/file.hpp"
#include "sys/ruleset_loader.hpp"

namespace icqgate::cli {

namespace po = boost::program_options;

namespace {

void say(const std::string& line) { std::fputs(("icqgate: " + line + "\n").c_str(), stderr); }

po::options_description own_options() {
  po::options_description own;
  own.add_options()("profile", po::value<std::string>()->value_name("PROFILE"), "what is allowed, see above")(
      "integrate", po::value<std::string>()->value_name("FIREWALL"),
      ("instead of a ruleset: the lines that another firewall needs (" + integration_names() + ")").c_str())(
      "resolve", "put in the addresses that the login hosts' names have now")(
      "output", po::value<std::string>()->value_name("FILE"),
      "write to FILE instead of standard output: all of it or, after a failure, nothing")(
      "format", po::value<std::string>()->value_name("nft|json"),
      "json: for `nft -j -f`; without the comments above the rules")(
      "check", "print it only if this kernel takes it; needs root, loads nothing")(
      "wide", fmt::format("allow a port-range or map of more than {} ports", thousands(kMostPorts)).c_str())(
      "config", po::value<std::string>()->value_name("FILE"),
      "read the configuration from FILE (else none is read)")("help,h", "this text");
  add_text_options(own);
  return own;
}

void help(const po::options_description& own) {
  std::string list;
  for (const auto& one : profiles()) list += fmt::format("  {:<10} {}\n", one.name, one.what);
  std::fputs(
      fmt::format(
          "usage: icqgate emit --profile PROFILE [OPTIONS] [CONFIGURATION OPTIONS]\n"
          "       icqgate emit --integrate FIREWALL [OPTIONS] [CONFIGURATION OPTIONS]\n\n"
          "Prints an nftables ruleset: complete, loadable again and again, the same bytes for the same "
          "options. Needs no\nprivilege (but for --check), and no network (but for --resolve).\n\n"
          "profiles:\n{}\n{}\nconfiguration:\n{}\n"
          "examples:\n"
          "  icqgate emit --profile outbound --lan eth1 --wan eth0 --resolve > icq.nft\n"
          "  icqgate emit --profile range --port-range 24000-24099 --client 192.168.1.0/24 | nft -f -\n"
          "  icqgate emit --profile masquerade --map 192.168.1.10=24000-24009 --output icq.nft\n"
          "  icqgate emit --profile socks --proxy 192.168.1.2 --policy gateway --also-allow udp/53,tcp/443\n"
          "  icqgate emit --profile dynamic | less\n",
          list, fmt::streamed(own), config::options_help())
          .c_str(),
      stdout);
}

int write_to_stdout(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0) return 0;
  say(fmt::format("standard output: {}", std::generic_category().message(errno)));
  return 1;
}

// A link is followed: the file behind it is replaced, the link stays.
int write_to_file(const std::string& text, const std::string& named) {
  std::string path = named;
  std::error_code error;
  if (std::filesystem::is_symlink(path, error)) {
    path = std::filesystem::canonical(path, error).string();
    if (error) {
      say(fmt::format("--output: '{}' is a link that leads nowhere; expected the path of a file", named));
      return 1;
    }
  }
  if (const auto why = sys::no_place_for_file(path); !why.empty()) {
    say(fmt::format("--output: '{}' {}; expected the path of a file", named, why));
    return 1;
  }
  const auto written = sys::write_file_atomically(path, text, sys::FileMode::Kept);
  if (written) return 0;
  say(fmt::format("--output: '{}': {}", named, to_string(written.error())));
  return 1;
}

// The table of a static profile; the error has been told.
std::optional<std::string> static_table(const ProfileWords& profile, const config::Config& config,
                                        bool resolve, std::string& resolved) {
  auto addresses = literal_addresses(config);
  if (resolve) {
    const auto more = resolved_addresses(config);
    if (!more) {
      say(more.error());
      return std::nullopt;
    }
    for (const auto& one : *more) {
      const bool there = std::any_of(addresses.begin(), addresses.end(),
                                     [&](const auto& other) { return other.server == one.server; });
      if (!there) addresses.push_back(one);
    }
    std::sort(addresses.begin(), addresses.end(),
              [](const auto& a, const auto& b) { return a.server < b.server; });
    resolved =
        fmt::format("# resolved    {:%Y-%m-%d %H:%M:%S} UTC\n",
                    std::chrono::time_point_cast<std::chrono::seconds>(std::chrono::system_clock::now()));
  }
  return nft::static_ruleset(config::static_options(config, *profile.profile, std::move(addresses)));
}

std::string dynamic_table(const config::Config& config) {
  auto table = nft::dynamic_ruleset(config::ruleset_options(config), nft::Loading::Awake);
  // For a reader of `nft list ruleset`: this one lacks the queue rules. `run` knows it for icqgate's all
  // the same, and completes it.
  const std::string comment = fmt::format("comment \"{}\"", nft::kTableComment);
  if (const auto at = table.find(comment); at != std::string::npos)
    table.replace(at, comment.size(),
                  fmt::format("comment \"{} as printed, without queues\"", nft::kTableComment));
  return table;
}

int integrate(const Arguments& given) {
  for (const char* const other :
       {"profile", "resolve", "wide", "format", "check", "client-guide", "per-client", "proxy-config"})
    if (given.has(other))
      return wrong_usage("emit", fmt::format("--integrate and --{} exclude each other", other));
  const auto source = read_configuration(given.text("config"), DefaultFile::Ignore);
  if (!source) {
    say(source.error());
    return 1;
  }
  const auto config = config::parse(source->text, source->file, given.configuration);
  if (!config) return wrong_configuration(config.error());
  const std::string firewall = given.text("integrate").value_or("");
  const auto text = integration(firewall, *config);
  if (!text)
    return wrong_usage("emit", fmt::format("--integrate: '{}' is no firewall known here; expected one of {}",
                                           firewall, integration_names()));
  const auto file = given.text("output");
  return file ? write_to_file(*text, *file) : write_to_stdout(*text);
}

}  // namespace

int emit(const std::vector<std::string>& arguments) {
  const auto own = own_options();
  const auto given = read_arguments(arguments, own, "profile");
  if (!given) return wrong_usage("emit", given.error());
  if (given->has("help")) {
    help(own);
    return 0;
  }
  if (given->has("integrate")) return integrate(*given);
  const auto name = given->text("profile");
  if (!name) return wrong_usage("emit", fmt::format("no --profile; expected {}", profile_names()));
  const auto* const profile = find_profile(*name);
  if (profile == nullptr)
    return wrong_usage("emit",
                       fmt::format("--profile: '{}' is no profile; expected {}", *name, profile_names()));

  const auto source = read_configuration(given->text("config"), DefaultFile::Ignore);
  if (!source) {
    say(source.error());
    return 1;
  }
  const auto config = config::parse(source->text, source->file, given->configuration);
  if (!config) return wrong_configuration(config.error());
  if (const auto wrong = misfit(*profile, *config, *given)) return wrong_usage("emit", *wrong);
  const auto file = given->text("output");
  if (asks_for_text(*given)) {
    const auto text = emitted_text(*given, *profile, *config);
    if (!text) return wrong_usage("emit", text.error());
    return file ? write_to_file(*text, *file) : write_to_stdout(*text);
  }
  const auto format = given->text("format").value_or("nft");
  if (format != "nft" && format != "json")
    return wrong_usage("emit", fmt::format("--format: '{}' is no format; expected nft or json", format));
  const bool as_json = format == "json";
  if (as_json && !profile->profile)
    return wrong_usage("emit",
                       "--format: json has no words for the sets of profile dynamic (typeof); expected nft");
  if (given->has("check") && ::geteuid() != 0) {
    say("--check: the kernel answers root only; without --check no privilege is needed");
    return 1;
  }

  std::string resolved;
  const auto table = profile->profile ? static_table(*profile, *config, given->has("resolve"), resolved)
                                      : dynamic_table(*config);
  if (!table) return 1;
  auto text = emit_header(*profile, *config, resolved) + replacement_of(config->table) + *table;
  if (given->has("check")) {
    if (const auto taken = sys::load_ruleset(text, sys::DryRun::Yes); !taken) {
      say(fmt::format("--check: the kernel does not take the ruleset:\n{}", taken.error()));
      return 1;
    }
  }
  if (const auto opened = opened_in_words(*profile, *config); !opened.empty()) say(opened);
  if (as_json) {
    auto json = ruleset_json(*table);
    if (!json) {
      say(json.error());
      return 1;
    }
    text = std::move(*json);
  }
  return file ? write_to_file(text, *file) : write_to_stdout(text);
}

}  // namespace icqgate::cli
