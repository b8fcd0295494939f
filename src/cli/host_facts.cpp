// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/host_facts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "cli/arguments.hpp"
#include "cli/login_addresses.hpp"
#include "cli/replacement.hpp"
#include "cli/service_socket.hpp"
#include "config/ruleset_options.hpp"
#include "nft/batch.hpp"
#include "nft/inspect.hpp"
#include "sys/file.hpp"
#include "sys/host.hpp"
#include "sys/interfaces.hpp"
#include "sys/nfnetlink.hpp"
#include "sys/ruleset_loader.hpp"

namespace icqgate::cli {

namespace {

constexpr std::size_t kMostListing = 64 * 1024 * 1024;

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

// "20000-20099,30000" as the kernel writes it.
doctor::Spans port_spans(const std::string& words) {
  doctor::Spans spans;
  for (std::size_t at = 0; at < words.size();) {
    const auto end = std::min(words.find(',', at), words.size());
    const std::string one = words.substr(at, end - at);
    const auto dash = one.find('-');
    const auto first = parse_port(one.substr(0, dash));
    const auto last = dash == std::string::npos ? first : parse_port(one.substr(dash + 1));
    if (first && last) spans.push_back({first->get(), last->get()});
    at = end + 1;
  }
  return spans;
}

void read_ports(doctor::Facts& facts) {
  if (const auto words = sys::sysctl("net/ipv4/ip_local_port_range")) {
    const auto tab = words->find_first_of("\t ");
    const auto first = parse_port(words->substr(0, tab));
    const auto last =
        tab == std::string::npos ? std::nullopt : parse_port(words->substr(words->find_last_of("\t ") + 1));
    if (first && last) facts.ephemeral = {first->get(), last->get()};
  }
  facts.reserved_words = sys::sysctl("net/ipv4/ip_local_reserved_ports").value_or("");
  facts.reserved = port_spans(facts.reserved_words);
  facts.listeners = sys::tcp_listeners();
}

doctor::Spans v4_of(const std::vector<std::string>& patterns, bool networks) {
  doctor::Spans spans;
  const auto addresses = sys::interface_addresses(patterns);
  if (!addresses) return spans;
  for (const auto& one : *addresses) {
    const auto address = one.address.v4(), network = one.subnet.address.v4();
    if (!address || !network) continue;
    if (networks) {
      const std::uint32_t rest = one.subnet.length >= 32 ? 0 : 0xffffffffu >> one.subnet.length;
      spans.push_back({network->get(), network->get() | rest});
    } else {
      spans.push_back({address->get(), address->get()});
    }
  }
  return spans;
}

void read_kernel(const config::Config& config, doctor::Facts& facts) {
  const auto options = config::ruleset_options(config);
  if (const auto loaded = sys::load_ruleset(
          replacement_of(options.table) + nft::dynamic_ruleset(options, nft::Loading::Awake),
          sys::DryRun::Yes);
      !loaded && !facts.service_running)  // a running service may own its table
    facts.ruleset_fault = loaded.error().substr(0, loaded.error().find('\n'));
  // After that, which loads the module where it is one.
  facts.conntrack = sys::sysctl("net/netfilter/nf_conntrack_max").has_value();
  facts.most_flows = sys::sysctl_number("net/netfilter/nf_conntrack_max").value_or(0);
  facts.flows = sys::sysctl_number("net/netfilter/nf_conntrack_count").value_or(0);
  // No table of anybody's is named like this: here a name has no '-'.
  facts.queue_statement =
      sys::load_ruleset("table inet icqgate-probe { chain c { queue num 1 bypass; }; }", sys::DryRun::Yes)
          .has_value();
  auto socket = sys::NftSocket::open();
  if (!socket) return;
  facts.queue_target = socket->dump(nft::queue_target_request(1), [](const nlmsghdr*) {}).has_value();
  (void)socket->dump(nft::table_request(config.table, 2), [&](const nlmsghdr* message) {
    const auto table = nft::parse_table({reinterpret_cast<const std::byte*>(message), message->nlmsg_len});
    if (table && !table->comment.starts_with(nft::kTableComment)) facts.foreign_table = true;
  });
}

void read_names(const config::Config& config, doctor::Facts& facts) {
  for (const auto& line : lines_of(sys::read_file("/etc/resolv.conf", 65536).value_or(std::string{}))) {
    constexpr std::string_view kWord = "nameserver";
    if (!line.starts_with(kWord)) continue;
    const auto first = line.find_first_not_of(" \t", kWord.size());
    if (first == std::string::npos || first == kWord.size()) continue;
    const auto address = parse_address(line.substr(first, line.find_first_of(" \t%#", first) - first));
    if (address) facts.name_servers.push_back(*address);
  }
  if (config.resolvers.empty() && facts.name_servers.empty()) return;  // told without waiting for it
  if (const auto found = resolved_addresses(config); !found) facts.resolver_fault = found.error();
}

}  // namespace

doctor::Facts configuration_facts(const config::Config& config, const std::string& config_file) {
  doctor::Facts facts;
  facts.config_file = config_file.empty() ? kDefaultFile : config_file;
  facts.interfaces = sys::interface_names();
  std::vector<std::string> both = config.lan;
  both.insert(both.end(), config.wan.begin(), config.wan.end());
  facts.missing_interfaces = sys::missing_interfaces(both).value_or(std::vector<std::string>{});
  facts.wan_addresses = v4_of(config.wan, false);
  facts.lan_networks = v4_of(config.lan, true);
  read_ports(facts);
  return facts;
}

doctor::Facts host_facts(const config::Config& config, const std::string& config_file) {
  doctor::Facts facts = configuration_facts(config, config_file);
  facts.service_running = ask_service(config.socket, "status").has_value();
  facts.ip_forward = sys::sysctl_number("net/ipv4/ip_forward").value_or(1) != 0;
  facts.ipv6_forward = sys::sysctl_number("net/ipv6/conf/all/forwarding").value_or(0) != 0 &&
                       sys::sysctl_number("net/ipv6/conf/all/disable_ipv6").value_or(0) == 0;
  const auto everywhere = sys::sysctl_number("net/ipv4/conf/all/rp_filter").value_or(0);
  for (const auto& name : facts.interfaces) {
    const auto ours = [&](const std::string& pattern) { return sys::matches_interface(pattern, name); };
    if (std::none_of(config.lan.begin(), config.lan.end(), ours) &&
        std::none_of(config.wan.begin(), config.wan.end(), ours))
      continue;
    const auto own = sys::sysctl_number("net/ipv4/conf/" + name + "/rp_filter").value_or(0);
    facts.rp_filter[name] = static_cast<int>(std::max(everywhere, own));
  }
  facts.ways_out = static_cast<unsigned>(sys::default_routes().size());
  if (const auto rules = sys::mark_rules())
    for (const auto& rule : *rules)
      facts.policy_rules.push_back({rule.priority, rule.mark, rule.mask, std::to_string(rule.table)});
  facts.queues = sys::bound_queues();
  read_kernel(config, facts);
  read_names(config, facts);
  return facts;
}

Result<doctor::Ruleset, std::string> foreign_ruleset(const config::Config& config, doctor::Facts& facts) {
  constexpr int kTries = 5;  // while others change it
  Result<doctor::Ruleset, std::string> ruleset = tl::make_unexpected(std::string{});
  for (int i = 0; i < kTries && !ruleset; ++i) {
    const auto listing = sys::list_ruleset();
    if (!listing) return tl::make_unexpected(listing.error());
    ruleset = doctor::read_ruleset(listing->json, listing->text, config.table);
  }
  if (!ruleset) return ruleset;
  const std::pair<const char*, const char*> families[]{{"ip", "ip_tables_names"},
                                                       {"ip6", "ip6_tables_names"}};
  for (const auto& [family, file] : families) {
    const auto tables = sys::read_file(fmt::format("/proc/self/net/{}", file), 4096);
    if (!tables || tables->empty()) continue;
    std::optional<std::string> saved;
    const std::string program =
        family == std::string_view{"ip"} ? "iptables-legacy-save" : "ip6tables-legacy-save";
    for (const char* folder : {"/usr/sbin/", "/sbin/"})
      if (!saved) saved = sys::output_of(folder + program, kMostListing);
    if (saved) {
      doctor::add_iptables_save(*ruleset, *saved, family);
    } else {
      for (const auto& table : lines_of(*tables)) facts.unread_tables.push_back(table);
    }
  }
  return ruleset;
}

}  // namespace icqgate::cli
