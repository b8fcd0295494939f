// SPDX-License-Identifier: GPL-2.0-or-later
#include "engine/event.hpp"

#include <fmt/format.h>

#include <array>

namespace icqgate::engine {
namespace {

constexpr std::array<std::string_view, kWhatCount> kNames{
    "control-opened",  "login-seen",        "login-refused",    "redirected",       "redirect-refused",
    "session-opened",  "session-ended",     "flow-blind",       "announce-refused", "pinhole-probation",
    "pinhole-opened",  "pinhole-closed",    "return-opened",    "return-closed",    "peer-verified",
    "peer-refused",    "outbound-verified", "outbound-refused", "address-added",    "address-gone",
    "address-refused", "answer-cut",        "lookup-failed",    "name-unresolved",  "name-resolved",
    "server-missed",   "session-restored"};

std::string of(const char* before, const std::optional<Uin>& uin) {
  return uin ? fmt::format("{}UIN {}", before, uin->get()) : std::string{};
}

}  // namespace

std::string_view to_string(What what) noexcept { return kNames[static_cast<std::size_t>(what)]; }

std::string describe(const Report& r) {
  const std::string client = r.client ? to_string(*r.client) : "?";
  const std::string who = r.uin ? fmt::format("UIN {} at {}", r.uin->get(), client) : client;
  const std::string remote = !r.remote                   ? "?"
                             : r.remote->port == Port{0} ? to_string(r.remote->address)
                                                         : to_string(*r.remote);
  const std::string port = r.port ? std::to_string(r.port->get()) : "?";
  const std::string version = r.version != 0 ? fmt::format(", version {}", r.version) : "";
  const std::string why =
      r.reason == Reason::None ? "" : fmt::format(": {} ({})", to_string(r.reason), explain(r.reason));
  const std::string extra = r.text.empty() ? "" : fmt::format(" [{}]", r.text);
  switch (r.what) {
    case What::ControlOpened:
      return fmt::format("{} connects to server {}", client, remote);
    case What::LoginSeen:
      return fmt::format("{} asks {} to be let in", who, remote);
    case What::LoginRefused:
      return fmt::format("{} was not let in by {}{}", who, remote, why);
    case What::Redirected:
      return fmt::format("{} may reach server {}{}", who, remote, extra);
    case What::RedirectRefused:
      return fmt::format("redirect of {} refused{}{}", who, why, extra);
    case What::SessionOpened:
      return fmt::format("{} has a session with {}", who, remote);
    case What::SessionEnded:
      return fmt::format("session of {} ended{}", who, why);
    case What::FlowBlind:
      return fmt::format("{} <-> {} is not followed any more{}", who, remote, why);
    case What::AnnounceRefused:
      return fmt::format("port {} of {} not opened{}", port, who, why);
    case What::PinholeProbation:
      return fmt::format("port {} of {} announced{}: on probation until the server has it", port, who,
                         version);
    case What::PinholeOpened:
      return fmt::format("port {} of {} open to peers who prove themselves", port, who);
    case What::PinholeClosed:
      return fmt::format("port {} of {} closed{}", port, who, why);
    case What::ReturnOpened:
      return fmt::format("port {} of {} open to {}, whom it called", port, who, remote);
    case What::ReturnClosed:
      return fmt::format("port {} of {} closed to {}{}", port, who, remote, why);
    case What::PeerVerified:
      return fmt::format("peer {}{} let in to port {} of {}{}{}", remote, of(", ", r.peer_uin), port, who,
                         version, extra);
    case What::PeerRefused:
      return fmt::format("peer {}{} refused at port {} of {}{}{}", remote, of(", ", r.peer_uin), port, client,
                         why, extra);
    case What::OutboundVerified:
      return fmt::format("{} let out to peer {}{}{}{}", who, remote, of(", ", r.peer_uin), version, extra);
    case What::OutboundRefused:
      return fmt::format("{} not let out to {}{}{}", client, remote, why, extra);
    case What::AddressAdded:
      return fmt::format("login server {}{}", remote, extra);
    case What::AddressGone:
      return fmt::format("login server {} gone{}{}", remote,
                         r.reason == Reason::Expired ? std::string{} : why, extra);
    case What::AddressRefused:
      return fmt::format("address {} not let in{}{}", remote, why, extra);
    case What::AnswerCut:
      return fmt::format("answer not taken whole{}{}", why, extra);
    case What::LookupFailed:
      return fmt::format("lookup failed{}{}", why, extra);
    case What::NameUnresolved:
      return fmt::format("no usable DNS answer for a minute; what is known of the name, if anything, stays{}",
                         extra);
    case What::NameResolved:
      return fmt::format("DNS answers again{}", extra);
    case What::ServerMissed:
      return fmt::format("{} tries {}, which is not known: asking DNS again", client, remote);
    case What::SessionRestored:
      return fmt::format("{} still has its session with {}", who, remote) + why;
  }
  return {};
}

}  // namespace icqgate::engine
