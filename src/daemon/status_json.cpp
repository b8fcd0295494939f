// SPDX-License-Identifier: GPL-2.0-or-later
#include "daemon/status_json.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace icqgate::daemon {

using nlohmann::ordered_json;

std::string status_json(const engine::Snapshot& snapshot, const ServiceStatus& service, engine::TimePoint now,
                        const std::vector<QueueStatus>& queues,
                        const std::map<std::string, std::uint64_t>& kernel_counters) {
  ordered_json json;
  json["version"] = ICQGATE_VERSION;
  json["table"] = service.table;
  json["uptime"] = service.uptime.count();
  json["queue_form"] = service.queue_form;
  json["timeout_update"] = service.timeout_update;
  json["owner"] = service.owner;
  json["state"] = service.state;
  json["state_problem"] = service.state_problem;

  auto& addresses = json["addresses"] = ordered_json::array();
  for (const auto& a : snapshot.addresses)
    addresses.push_back({{"host", a.host},
                         {"address", to_string(a.server.address)},
                         {"port", a.server.port.get()},
                         {"source", a.source},
                         {"age", a.age.count()},
                         {"ttl_left", a.ttl_left ? ordered_json(a.ttl_left->count()) : ordered_json(nullptr)},
                         {"expires_in", a.expires_in.count()},
                         {"flows", a.flows}});
  auto& names = json["names"] = ordered_json::array();
  for (const auto& n : snapshot.names)
    names.push_back(
        {{"name", n.query.name},
         {"type", n.query.type == dns::Type::A ? "A" : "AAAA"},
         {"addresses", n.addresses.size()},
         {"last_error", n.last_error},
         {"failing_for",
          n.failing_since
              ? ordered_json(std::chrono::duration_cast<std::chrono::seconds>(now - *n.failing_since).count())
              : ordered_json(nullptr)},
         {"next_ask_in",
          std::max<std::int64_t>(
              0, std::chrono::duration_cast<std::chrono::seconds>(n.next_ask - now).count())}});
  auto& sessions = json["sessions"] = ordered_json::array();
  for (const auto& s : snapshot.sessions) {
    ordered_json one{{"client", to_string(s.flow.inside.address)}};
    one["uin"] = s.uin ? ordered_json(s.uin->get()) : ordered_json(nullptr);
    one["server"] = to_string(s.flow.outside);
    one["state"] = s.state;
    one["since"] = s.since.count();
    sessions.push_back(std::move(one));
  }
  auto& pinholes = json["pinholes"] = ordered_json::array();
  for (const auto& p : snapshot.pinholes)
    pinholes.push_back({{"client", to_string(IpAddress{p.client})},
                        {"port", p.port.get()},
                        {"uin", p.uin.get()},
                        {"kind", p.kind},
                        {"state", p.state},
                        {"expires_in", p.expires_in.count()},
                        {"peers", p.peers}});
  auto& returns = json["returns"] = ordered_json::array();
  for (const auto& r : snapshot.returns)
    returns.push_back({{"peer", to_string(IpAddress{r.peer})},
                       {"client", to_string(IpAddress{r.client})},
                       {"port", r.port.get()},
                       {"expires_in", r.expires_in.count()}});

  auto& counters = json["counters"];
  const auto happened = [&snapshot](engine::What what) {
    return snapshot.happened[static_cast<std::size_t>(what)];
  };
  counters = {{"logins_seen", happened(engine::What::LoginSeen)},
              {"logins_refused", happened(engine::What::LoginRefused)},
              {"redirects", happened(engine::What::Redirected)},
              {"redirects_refused", happened(engine::What::RedirectRefused)},
              {"sessions_opened", happened(engine::What::SessionOpened)},
              {"sessions_ended", happened(engine::What::SessionEnded)},
              {"flows_blind", happened(engine::What::FlowBlind)},
              {"announcements_refused", happened(engine::What::AnnounceRefused)},
              {"pinholes_opened", happened(engine::What::PinholeOpened)},
              {"pinholes_closed", happened(engine::What::PinholeClosed)},
              {"returns_opened", happened(engine::What::ReturnOpened)},
              {"peers_verified", happened(engine::What::PeerVerified)},
              {"peers_refused", happened(engine::What::PeerRefused)},
              {"outbound_verified", happened(engine::What::OutboundVerified)},
              {"outbound_refused", happened(engine::What::OutboundRefused)},
              {"lookups_failed", happened(engine::What::LookupFailed)},
              {"addresses_added", happened(engine::What::AddressAdded)},
              {"addresses_gone", happened(engine::What::AddressGone)},
              {"addresses_refused", happened(engine::What::AddressRefused)},
              {"servers_missed", happened(engine::What::ServerMissed)},
              {"sessions_restored", happened(engine::What::SessionRestored)}};
  auto& refused = counters["refused"] = ordered_json::object();
  for (std::size_t i = 0; i < engine::kReasonCount; ++i)
    if (snapshot.refused[i] > 0)
      refused[std::string{to_string(static_cast<engine::Reason>(i))}] = snapshot.refused[i];
  auto& kernel = counters["kernel"] = ordered_json::object();
  for (const auto& [name, packets] : kernel_counters) kernel[name] = packets;

  auto& queue_list = json["queues"] = ordered_json::array();
  for (const auto& q : queues)
    queue_list.push_back({{"number", q.number},
                          {"lane", q.lane},
                          {"received", q.received},
                          {"lost", q.lost},
                          {"waiting", q.waiting},
                          {"dropped", q.dropped}});
  return json.dump() + "\n";
}

}  // namespace icqgate::daemon
