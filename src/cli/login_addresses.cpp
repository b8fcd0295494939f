// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/login_addresses.hpp"

#include <fmt/format.h>

#include <boost/asio/io_context.hpp>
#include <cstdio>
#include <map>
#include <set>

#include "dns/message.hpp"
#include "sys/resolver.hpp"

namespace icqgate::cli {

namespace {

// One login host's name and what came of asking for it.
struct Lookup {
  std::set<IpAddress> addresses;
  std::vector<std::string> failures;  // in words, one per type
};

std::string in_words(const dns::Answer& answer) {
  switch (static_cast<dns::Rcode>(answer.rcode)) {
    case dns::Rcode::NoError:
      return "no address";
    case dns::Rcode::NxDomain:
      return "no such name (NXDOMAIN)";
    case dns::Rcode::ServFail:
      return "the server failed (SERVFAIL)";
    case dns::Rcode::Refused:
      return "the server refused (REFUSED)";
    default:
      return fmt::format("response code {}", answer.rcode);
  }
}

void take(Lookup& lookup, const dns::DomainName& name, dns::Type type, const sys::Resolver::Reply& reply) {
  const char* const words = type == dns::Type::A ? "A" : "AAAA";
  if (!reply.message) {
    lookup.failures.push_back(fmt::format("{}: {}", words, reply.message.error()));
    return;
  }
  const auto answer = dns::parse_answer(*reply.message);
  if (!answer || answer->question != name || answer->type != type) {
    lookup.failures.push_back(fmt::format("{}: an answer that cannot be read", words));
    return;
  }
  if (answer->addresses.empty()) {
    lookup.failures.push_back(fmt::format("{}: {}", words, in_words(*answer)));
    return;
  }
  for (const auto& record : answer->addresses) {
    const Scope scope = scope_of(record.address);
    if (scope == Scope::Global || scope == Scope::Private) {
      lookup.addresses.insert(record.address);
    } else {
      lookup.failures.push_back(
          fmt::format("{}: {} can be no server's address", words, to_string(record.address)));
    }
  }
}

std::vector<Port> ports_of(const config::LoginHost& host, const config::Config& config) {
  return host.port ? std::vector<Port>{*host.port} : config.login_ports;
}

std::vector<nft::StaticAddress> listed(const std::map<Endpoint, std::string>& servers) {
  std::vector<nft::StaticAddress> list;
  for (const auto& [server, comment] : servers) list.push_back({server, comment});
  return list;
}

}  // namespace

std::vector<nft::StaticAddress> literal_addresses(const config::Config& config) {
  std::map<Endpoint, std::string> servers;
  for (const auto& host : config.login_hosts)
    if (const auto* address = std::get_if<IpAddress>(&host.host))
      for (const Port port : ports_of(host, config)) servers.try_emplace({*address, port});
  return listed(servers);
}

Result<std::vector<nft::StaticAddress>, std::string> resolved_addresses(const config::Config& config) {
  std::map<dns::DomainName, Lookup> lookups;
  for (const auto& host : config.login_hosts)
    if (const auto* name = std::get_if<dns::DomainName>(&host.host)) lookups[*name];

  boost::asio::io_context loop;
  sys::Resolver resolver{loop, config.resolvers};
  std::size_t open = 2 * lookups.size();
  for (auto& entry : lookups) {
    for (const dns::Type type : {dns::Type::A, dns::Type::Aaaa}) {
      resolver.ask(entry.first, static_cast<std::uint16_t>(type), [&, type](sys::Resolver::Reply reply) {
        take(entry.second, entry.first, type, reply);
        if (--open == 0) loop.stop();
      });
    }
  }
  if (open > 0) loop.run();

  std::map<Endpoint, std::string> servers;
  for (const auto& host : config.login_hosts) {
    const auto* name = std::get_if<dns::DomainName>(&host.host);
    if (name == nullptr) continue;
    const Lookup& lookup = lookups[*name];
    if (lookup.addresses.empty()) {
      std::string why;
      for (const auto& failure : lookup.failures) why += (why.empty() ? "" : "; ") + failure;
      return tl::make_unexpected(fmt::format("{} did not resolve: {}", *name, why));
    }
    for (const IpAddress& address : lookup.addresses)
      for (const Port port : ports_of(host, config)) servers.try_emplace({address, port}, *name);
  }
  return listed(servers);
}

}  // namespace icqgate::cli
