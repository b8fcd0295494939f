// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "net/address.hpp"

namespace icqgate::nft {

// What is in ct mark and packet mark, within the mask's lowest two set bits (kernel.md: bits of the mask
// only). In ct mark:      Verified  pass, nothing is inspected any more
//                  Watched   control flow (or a flow that other tables let out by themselves): inspected,
//                  fail-open Pending   outbound peer flow that only our mark lets out: inspected, fail-closed
// In packet mark:  Verified  allowed by icqgate: what the administrator's own chains test for
//                  Watched   from a verdict: allowed, and the flow is to be Verified
//                  Pending   from a verdict with NF_REPEAT: refused, to be reset; from one that accepts: the
//                  flow is
//                            none of ours any more
struct Marks {
  std::uint32_t mask = 0;  // both bits
  std::uint32_t verified = 0;
  std::uint32_t pending = 0;
  std::uint32_t watched = 0;
};
// From a mask of at least two bits: the lowest two are used.
[[nodiscard]] Marks marks_of(std::uint32_t mask) noexcept;

struct RulesetOptions {
  std::string table = "icqgate";
  std::int32_t priority = -5;
  std::vector<std::string> lan;
  std::vector<std::string> wan;
  std::vector<Subnet> clients;  // empty: any inside address
  Port first_port{20000};
  Port last_port{20099};
  std::uint32_t mark_mask = 0x06000000;
  bool masquerade = false;
  std::uint16_t queue_control = 5190;
  std::uint16_t queue_peer = 5191;
  bool check_outbound = false;  // true: every outbound connection of a client with a session has to be ICQ
  bool check_peers = true;      // false: peers are let in by the pinhole alone
  std::uint16_t queue_names = 5192;
  std::vector<Port> login_ports{
      Port{5190}};  // of any login host: a SYN to an unknown server there is noticed
  std::vector<std::string>
      held_names;  // owner names (lower case, no trailing dot) whose DNS answers are held
};

// The table that `run` installs, as text for libnftables: complete but for the rules that send packets to the
// queues, which go to the head of the chains kControlChain, kPeerChain and kNamesChain (nft 1.0.6 has no
// words for one of their two forms). Its sets all have names. `Dormant`: hooks nothing, for a table that is
// only to be read back (nft/compiled.hpp).
enum class Loading { Awake, Dormant };
[[nodiscard]] std::string dynamic_ruleset(const RulesetOptions& options, Loading loading);

inline constexpr const char* kControlChain = "control_queue";
inline constexpr const char* kPeerChain = "peer_queue";
inline constexpr const char* kNamesChain = "names_queue";

// The comment of a table that icqgate made: begins with this. A table without is never touched.
inline constexpr const char* kTableComment = "icqgate";

}  // namespace icqgate::nft
