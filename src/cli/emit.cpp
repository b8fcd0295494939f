// SPDX-License-Identifier: GPL-2.0-or-later
#include <fmt/chrono.h>
#include <fmt/ostream.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <memory>
#include <system_error>

#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/integration.hpp"
#include "cli/login_addresses.hpp"
#include "cli/replacement.hpp"
#include "config/ruleset_options.hpp"

namespace icqgate::cli {

namespace po = boost::program_options;

namespace {

constexpr std::uint32_t kMostPorts = 1000;  // of profile range without --wide (security.md S24)

struct ProfileWords {
  std::string_view name;
  std::optional<nft::Profile> profile;  // none: dynamic
  std::string_view what;
};
constexpr std::array<ProfileWords, 4> kProfiles{{
    {"dynamic", std::nullopt, "the table that `icqgate run` installs, to read and review"},
    {"direct", nft::Profile::Direct, "login servers, peers out, peers in on all of 1024-65535"},
    {"range", nft::Profile::Range, "login servers, peers out and in on port-range only"},
    {"outbound", nft::Profile::Outbound, "login servers, peers out: no listening port"},
}};

std::string thousands(std::uint64_t number) {
  std::string text = std::to_string(number);
  for (std::size_t at = text.size(); at > 3;) text.insert(at -= 3, ",");
  return text;
}

template <class List, class Show>
std::string words(const List& list, Show show) {
  std::string text;
  for (const auto& one : list) text += (text.empty() ? "" : ", ") + std::string{show(one)};
  return text;
}

std::string same(const std::string& text) { return text; }

// For how many: "any client behind br-lan", "256 clients".
std::string whom(const config::Config& config) {
  if (config.clients.empty()) return fmt::format("any client behind {}", words(config.lan, same));
  double count = 0;  // one /64 is more than 64 bits hold
  for (const Subnet& subnet : config.clients) {
    if (!subnet.address.is_v4()) continue;  // peers are IPv4 only
    double size = 1;
    for (int bits = subnet.length; bits < 32; ++bits) size *= 2;
    count += size;
  }
  return fmt::format("{} client{}", thousands(static_cast<std::uint64_t>(count)), count == 1 ? "" : "s");
}

std::string host_words(const config::LoginHost& host) {
  const auto* address = std::get_if<IpAddress>(&host.host);
  if (address != nullptr) return host.port ? to_string(Endpoint{*address, *host.port}) : to_string(*address);
  const auto& name = std::get<dns::DomainName>(host.host);
  return (host.port ? fmt::format("{}:{}", name, host.port->get()) : name) +
         (host.private_allowed ? "!private" : "");
}

// Nothing that changes from run to run but the time of --resolve: same input, same bytes.
std::string header(const ProfileWords& profile, const config::Config& config, const std::string& resolved) {
  const auto port = [](Port one) { return std::to_string(one.get()); };
  std::string out =
      fmt::format("# icqgate {}, profile {}: {}\n#\n", ICQGATE_VERSION, profile.name, profile.what);
  out += fmt::format("# login-host  {}\n# login-port  {}\n", words(config.login_hosts, host_words),
                     words(config.login_ports, port));
  out +=
      fmt::format("# lan         {}\n# wan         {}\n", words(config.lan, same), words(config.wan, same));
  out += fmt::format(
      "# client      {}\n",
      config.clients.empty() ? "any" : words(config.clients, [](const Subnet& s) { return to_string(s); }));
  if (!profile.profile || profile.profile == nft::Profile::Range)
    out += fmt::format("# port-range  {}-{}\n", config.port_range.first.get(), config.port_range.last.get());
  out += fmt::format("# table       {}, priority {}, mark-mask {:#010x}\n", config.table, config.priority,
                     config.mark_mask);
  if (!profile.profile) out += fmt::format("# masquerade  {}\n", config.masquerade ? "yes" : "no");
  if (!resolved.empty()) out += resolved;
  out += fmt::format(
      "#\n# test    nft --check -f FILE\n# load    nft -f FILE    (again as well: it replaces the table)\n"
      "# remove  nft delete table inet {}\n#\n",
      config.table);
  out += fmt::format(
      "# What it allows has the mark: a table of yours that drops by default has to pass it, with\n"
      "#   meta mark & {:#010x} != 0 accept\n",
      nft::marks_of(config.mark_mask).mask);
  if (profile.profile) {
    const bool names =
        std::any_of(config.login_hosts.begin(), config.login_hosts.end(),
                    [](const auto& host) { return std::holds_alternative<dns::DomainName>(host.host); });
    if (names && resolved.empty())
      out +=
          "# Login servers known by name are not in the sets: --resolve puts today's addresses in, or add "
          "them "
          "by hand.\n";
  } else {
    out +=
        "# `icqgate run` loads this itself, adds to the chains control_queue and peer_queue the rules that "
        "send packets\n"
        "# to its queues, and fills the sets. Without it nothing is open: control_queue passes, peer_queue "
        "drops.\n";
  }
  return out + '\n';
}

void help(const po::options_description& own) {
  std::string profiles;
  for (const auto& one : kProfiles) profiles += fmt::format("  {:<10} {}\n", one.name, one.what);
  std::fputs(
      fmt::format(
          "usage: icqgate emit --profile PROFILE [OPTIONS] [CONFIGURATION OPTIONS]\n"
          "       icqgate emit --integrate FIREWALL [OPTIONS] [CONFIGURATION OPTIONS]\n\n"
          "Prints an nftables ruleset: complete, loadable again and again, the same bytes for the same "
          "options. Needs no\nprivilege, and no network but for --resolve.\n\nprofiles:\n{}\n{}\n"
          "configuration:\n{}\n"
          "examples:\n"
          "  icqgate emit --profile outbound --lan eth1 --wan eth0 --resolve > icq.nft\n"
          "  icqgate emit --profile range --port-range 24000-24099 --client 192.168.1.0/24 | nft -f -\n"
          "  icqgate emit --profile dynamic | less\n",
          profiles, fmt::streamed(own), config::options_help())
          .c_str(),
      stdout);
}

int write_out(const std::string& text, const std::optional<std::string>& file) {
  std::FILE* const stream = file ? std::fopen(file->c_str(), "we") : stdout;
  const auto failed = [&](int code) {
    std::fputs(fmt::format("icqgate: {}: {}\n", file.value_or("standard output"),
                           std::generic_category().message(code))
                   .c_str(),
               stderr);
    return 1;
  };
  if (stream == nullptr) return failed(errno);
  const bool written = std::fwrite(text.data(), 1, text.size(), stream) == text.size();
  const int code = errno;
  const bool closed = (file ? std::fclose(stream) : std::fflush(stream)) == 0;
  if (!written) return failed(code);
  return closed ? 0 : failed(errno);
}

void say(const std::string& line) { std::fputs(("icqgate: " + line + "\n").c_str(), stderr); }

int integrate(const Arguments& given) {
  for (const char* const other : {"profile", "resolve", "wide"})
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
  return write_out(*text, given.text("output"));
}

}  // namespace

int emit(const std::vector<std::string>& arguments) {
  po::options_description own;
  own.add_options()("profile", po::value<std::string>()->value_name("PROFILE"), "what is allowed, see above")(
      "integrate", po::value<std::string>()->value_name("FIREWALL"),
      ("instead of a ruleset: the lines that another firewall needs (" + integration_names() + ")").c_str())(
      "resolve", "put in the addresses that the login hosts' names have now")(
      "output", po::value<std::string>()->value_name("FILE"), "write to FILE instead of standard output")(
      "wide", fmt::format("allow a port-range of more than {} ports", thousands(kMostPorts)).c_str())(
      "config", po::value<std::string>()->value_name("FILE"),
      "read the configuration from FILE (else none is read)")("help,h", "this text");
  const auto given = read_arguments(arguments, own, "profile");
  if (!given) return wrong_usage("emit", given.error());
  if (given->has("help")) {
    help(own);
    return 0;
  }
  if (given->has("integrate")) return integrate(*given);
  const auto name = given->text("profile");
  if (!name) return wrong_usage("emit", "no --profile");
  const auto* const profile =
      std::find_if(kProfiles.begin(), kProfiles.end(), [&](const auto& one) { return one.name == *name; });
  if (profile == kProfiles.end())
    return wrong_usage("emit",
                       fmt::format("'{}' is no profile; expected dynamic, direct, range or outbound", *name));
  if (given->has("resolve") && !profile->profile)
    return wrong_usage("emit", "--resolve: the sets of profile dynamic are filled by `icqgate run`");

  const auto source = read_configuration(given->text("config"), DefaultFile::Ignore);
  if (!source) {
    say(source.error());
    return 1;
  }
  const auto config = config::parse(source->text, source->file, given->configuration);
  if (!config) return wrong_configuration(config.error());

  const std::uint32_t ports = config->port_range.size();
  if (profile->profile == nft::Profile::Range) {
    if (ports > kMostPorts && !given->has("wide"))
      return wrong_usage(
          "emit", fmt::format("port-range {}-{} opens {} ports for {}; more than {} need --wide",
                              config->port_range.first.get(), config->port_range.last.get(), thousands(ports),
                              whom(*config), thousands(kMostPorts)));
    say(fmt::format("profile range opens {} port{} ({}-{}) for {}", thousands(ports), ports == 1 ? "" : "s",
                    config->port_range.first.get(), config->port_range.last.get(), whom(*config)));
  } else if (profile->profile == nft::Profile::Direct) {
    say(fmt::format("warning: profile direct opens {} ports (1024-65535) for {}", thousands(65536 - 1024),
                    whom(*config)));
  }
  if (profile->profile && config->masquerade)
    say(fmt::format("warning: masquerade has no effect in profile {}", profile->name));

  const auto options = config::ruleset_options(*config);
  std::string resolved;
  std::string table;
  if (profile->profile) {
    auto addresses = literal_addresses(*config);
    if (given->has("resolve")) {
      const auto more = resolved_addresses(*config);
      if (!more) {
        say(more.error());
        return 1;
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
    table = nft::static_ruleset(*profile->profile, options, addresses);
  } else {
    table = nft::dynamic_ruleset(options, nft::Loading::Awake);
    // For a reader of `nft list ruleset`: this one lacks the queue rules. `run` knows it for icqgate's all
    // the same, and completes it.
    const std::string comment = fmt::format("comment \"{}\"", nft::kTableComment);
    if (const auto at = table.find(comment); at != std::string::npos)
      table.replace(at, comment.size(),
                    fmt::format("comment \"{} as printed, without queues\"", nft::kTableComment));
  }
  return write_out(header(*profile, *config, resolved) + replacement_of(config->table) + table,
                   given->text("output"));
}

}  // namespace icqgate::cli
