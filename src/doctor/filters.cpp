// SPDX-License-Identifier: GPL-2.0-or-later
// Chains of others that drop, or take away from conntrack or from the chains, what ICQ needs.
#include <fmt/format.h>

#include <algorithm>

#include "doctor/examine.hpp"
#include "doctor/needs.hpp"
#include "doctor/remedy.hpp"
#include "doctor/walk.hpp"

namespace icqgate::doctor {

namespace {

struct Struck {
  Hit hit;
  const Traffic* traffic;
};

std::string list_of(const std::vector<Struck>& struck) {
  std::string names;
  for (std::size_t i = 0; i < struck.size(); ++i)
    names += (i == 0 ? "" : i + 1 == struck.size() ? " and " : ", ") + struck[i].traffic->name;
  return names;
}

std::vector<const Traffic*> traffic_of(const std::vector<Struck>& struck) {
  std::vector<const Traffic*> list;
  for (const Struck& one : struck) list.push_back(one.traffic);
  return list;
}

// What nobody can judge is no finding: a list of attackers, a rate, a count, tests of single packets.
bool worth_telling(const Hit& hit, const Base& base) {
  if (base.hook == "input" || base.hook == "output") return hit.certain;
  return hit.known;
}

// The first deed of one kind that each kind of traffic meets in that chain.
std::vector<Struck> struck_by(const std::vector<std::pair<Traffic, std::vector<Hit>>>& walks,
                              const Base& base, bool (*wanted)(Deed)) {
  std::vector<Struck> struck;
  for (const auto& [traffic, hits] : walks) {
    const Hit* found = nullptr;
    for (const Hit& hit : hits)
      if (wanted(hit.deed) && worth_telling(hit, base) &&
          (found == nullptr || (hit.certain && !found->certain)))
        found = &hit;
    if (found != nullptr) struck.push_back({*found, &traffic});
  }
  return struck;
}

Finding dropped(const Situation& situation, const Chain& base, const std::vector<Struck>& struck) {
  const auto mask = nft::marks_of(situation.config.mark_mask).mask;
  const auto worst =
      std::find_if(struck.begin(), struck.end(), [](const Struck& one) { return one.hit.certain; });
  const Hit& hit = worst == struck.end() ? struck.front().hit : worst->hit;
  const bool passing = base.base->hook == "forward" || base.base->hook == "postrouting";
  const bool marked = std::any_of(struck.begin(), struck.end(), [](const Struck& one) {
    return one.traffic->marks && one.traffic->marks->front() != 0;
  });
  Finding finding;
  finding.kind = "drop";
  finding.certain = hit.certain;
  const std::string before = marked ? ", and no rule before it accepts icqgate's mark"
                                    : ", and no rule before it accepts what ICQ needs";
  finding.what =
      hit.rule == nullptr
          ? fmt::format("{}: policy drop{}", place_of(base), before)
          : fmt::format("{}: this rule {}{}{}", place_of(*hit.chain, *hit.rule), hit.certain ? "" : "may ",
                        hit.deed == Deed::Reject ? (hit.certain ? "rejects" : "reject")
                                                 : (hit.certain ? "drops" : "drop"),
                        before);
  if (hit.rule != nullptr) finding.rule = hit.rule->text;
  finding.follows = fmt::format("{} {} there", list_of(struck), hit.certain ? "end" : "may end");
  if (passing && !marked && base.base->priority <= situation.config.priority) {
    finding.what +=
        fmt::format("; it runs {} icqgate (priority {}), which sets the mark",
                    base.base->priority < situation.config.priority ? "before" : "at the priority of",
                    situation.config.priority);
    finding.remedy = base.base->priority - 1 >= -400
                         ? set_key(situation.facts, "priority", std::to_string(base.base->priority - 1)) +
                               " && systemctl restart icqgate"
                         : accept_traffic(base, traffic_of(struck));
  } else if (marked) {
    finding.remedy = accept_mark(situation.ruleset, base, mask);
    finding.keep = keep(base, mask);
  } else {
    finding.remedy = accept_traffic(base, traffic_of(struck));
    finding.keep =
        base.tool == Tool::Nft ? "the same rule in the file that loads that table" : keep(base, mask);
  }
  return finding;
}

Finding not_tracked(const Chain& base, const std::vector<Struck>& struck) {
  const Hit& hit = struck.front().hit;
  return {"notrack",
          hit.certain,
          fmt::format("{}: this rule takes connections of ICQ away from conntrack",
                      place_of(*hit.chain, *hit.rule)),
          hit.rule->text,
          fmt::format("without conntrack nobody knows whose packets these are: {} {}", list_of(struck),
                      hit.certain ? "fail" : "may fail"),
          accept_traffic(base, traffic_of(struck)),
          "the same rule where that table is made"};
}

Finding offloaded(const Situation& situation, const Chain& base, const std::vector<Struck>& struck) {
  const Hit& hit = struck.front().hit;
  const auto mask = nft::marks_of(situation.config.mark_mask).mask;
  const bool marked = base.base->priority > situation.config.priority || base.base->hook == "postrouting";
  return {
      "flowtable",
      true,
      fmt::format("{}: this rule puts connections of ICQ into a flowtable", place_of(*hit.chain, *hit.rule)),
      hit.rule->text,
      "what is in a flowtable passes no chain any more: icqgate misses logins and announced ports, and peers "
      "pass "
      "unseen",
      narrow(*hit.chain, *hit.rule, fmt::format("{} mark & {:#010x} == 0", marked ? "meta" : "ct", mask)),
      base.table == "fw4" ? "without flow_offloading in /etc/config/firewall, or the rule so narrowed in "
                            "/etc/nftables.d/"
                          : "the rule so changed in the file that loads that table"};
}

// Under outbound = auto the first SYN to a peer is left to the others; a reject there is an answer.
void rejected_outbound(const Situation& situation, const Chain& base, std::vector<Finding>& findings) {
  if (situation.config.outbound != config::Outbound::Auto) return;
  const Traffic traffic = unmarked_outbound(situation);
  for (const Hit& hit : walk(situation.ruleset, base, traffic)) {
    if (hit.deed != Deed::Reject || !hit.certain || hit.rule == nullptr) continue;
    findings.push_back({"reject", true,
                        fmt::format("{}: this rule rejects what clients send outward, instead of dropping it",
                                    place_of(*hit.chain, *hit.rule)),
                        hit.rule->text,
                        "under outbound = auto the first SYN to a peer has no mark yet, is answered with "
                        "that reject, and the client "
                        "gives up: only peers that the server named get out",
                        set_key(situation.facts, "outbound", "check") + " && systemctl reload icqgate", ""});
    return;
  }
}

}  // namespace

std::vector<Finding> examine_filters(const Situation& situation) {
  std::vector<Finding> findings;
  for (const auto& [name, base] : situation.ruleset.chains) {
    if (!base.base || base.base->type == "nat" || base.family == "arp" || base.family == "bridge") continue;
    std::vector<std::pair<Traffic, std::vector<Hit>>> walks;
    for (Traffic& traffic : needed_at(base, situation)) {
      auto hits = walk(situation.ruleset, base, traffic);
      walks.emplace_back(std::move(traffic), std::move(hits));
    }
    const auto drops =
        struck_by(walks, *base.base, [](Deed deed) { return deed == Deed::Drop || deed == Deed::Reject; });
    const auto untracked = struck_by(walks, *base.base, [](Deed deed) { return deed == Deed::NoTrack; });
    std::vector<Struck> flows;
    for (const auto& [traffic, hits] : walks)
      for (const Hit& hit : hits)  // the kernel offloads no flow before it is established
        if (hit.deed == Deed::Flow && !traffic.fresh.value_or(false)) flows.push_back({hit, &traffic});
    if (!drops.empty()) findings.push_back(dropped(situation, base, drops));
    if (!untracked.empty()) findings.push_back(not_tracked(base, untracked));
    if (!flows.empty()) findings.push_back(offloaded(situation, base, flows));
    if (base.base->hook == "forward" && base.family != "ip6") {
      const bool told = !drops.empty();
      if (!told) rejected_outbound(situation, base, findings);
    }
  }
  return findings;
}

}  // namespace icqgate::doctor
