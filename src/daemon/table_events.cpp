// SPDX-License-Identifier: GPL-2.0-or-later
// Others on the host: what they take out of the table is put back.
#include <linux/netfilter/nf_tables.h>

#include <algorithm>

#include "daemon/table.hpp"
#include "daemon/table_kernel.hpp"

namespace icqgate::daemon {

using std::chrono::milliseconds;
using Kind = nft::Change::Kind;

namespace {

// So many repairs at once, and then so many a second: a program that flushes in a loop costs no more.
constexpr double kBurst = 10, kPerSecond = 10;
constexpr milliseconds kAfterFailure{1000};

void failed(Repair& repair, const std::string& error) {
  repair.error = error;
  repair.again = kAfterFailure;
}

constexpr std::size_t kMostAdditions = 100;  // told of one table

std::string addition(const nft::TableEvent& event) {
  if (event.type == NFT_MSG_NEWSETELEM) return "an element into set " + event.set;
  if (event.type == NFT_MSG_NEWRULE) return "a rule into chain " + event.chain;
  return event.type == NFT_MSG_NEWSET ? "a set" : event.type == NFT_MSG_NEWOBJ ? "an object" : "a flowtable";
}

}  // namespace

Repair Table::on_events() {
  Repair repair;
  repair.table = std::exchange(put_back_, false);
  read_events(repair);
  if (!damage_.structure && !damage_.elements && !damage_.stale && damage_.gone.empty()) return repair;
  if (!may_repair(repair)) return repair;
  if (damage_.structure || damage_.stale) {
    repair_table(repair);
  } else {
    repair_elements(repair);
  }
  if (repair.table) {  // they went with the rest
    repair.added.clear();
    additions_told_.clear();
  }
  return repair;
}

void Table::read_events(Repair& repair) {
  bool touched = false;  // by the transaction whose end comes next
  const auto received = events_.receive([&](const nlmsghdr* message) {
    const auto event = nft::parse_event({reinterpret_cast<const std::byte*>(message), message->nlmsg_len});
    if (!event) return;
    if (event->type == NFT_MSG_NEWGEN && std::exchange(touched, false)) repair.program = event->program;
    if (event->table != config_.table) return;
    touched = true;
    switch (event->type) {
      case NFT_MSG_NEWSETELEM:
      case NFT_MSG_NEWSET:
      case NFT_MSG_NEWRULE:
      case NFT_MSG_NEWOBJ:
      case NFT_MSG_NEWFLOWTABLE:
        if (const auto what = addition(*event); additions_told_.size() < kMostAdditions)
          if (additions_told_.insert(what).second) repair.added.push_back(what);
        return;
      case NFT_MSG_DELSETELEM:
        damage_.gone.insert(event->elements.begin(), event->elements.end());
        if (const auto set = ruleset_.sets.find(event->set); set != ruleset_.sets.end() && set->second.fixed)
          damage_.structure = true;
        return;
      default:  // deletions; also a table put to sleep or a chain's policy, which come as NEWTABLE, NEWCHAIN
        damage_.structure = true;
        return;
    }
  });
  if (!received) repair.error = to_string(received.error());
  if (lost_ != events_.lost()) {
    lost_ = events_.lost();
    damage_.structure = damage_.elements = true;
  }
}

bool Table::may_repair(Repair& repair) {
  const auto now = Clock::now();
  const std::chrono::duration<double> since = now - repairs_counted_;
  repairs_left_ = std::min(kBurst, repairs_left_ + since.count() * kPerSecond);
  repairs_counted_ = now;
  if (repairs_left_ < 1) {
    repair.again = milliseconds{static_cast<int>((1 - repairs_left_) * 1000 / kPerSecond) + 1};
    return false;
  }
  repairs_left_ -= 1;
  return true;
}

void Table::repair_table(Repair& repair) {
  const auto there = look(socket_, config_.table);
  if (!there) return failed(repair, there.error());
  bool whole = !damage_.stale && *there && ((*there)->flags & NFT_TABLE_F_DORMANT) == 0 &&
               (*there)->comment.starts_with(nft::kTableComment);
  if (whole) {
    const auto have = read_ruleset(socket_, config_.table);
    if (!have) return failed(repair, have.error());
    whole = nft::holds(*have, ruleset_);
  }
  if (whole) {
    // Not there any more what was seen in an event: it has been put back since.
    damage_.structure = false;
    if (damage_.elements || !damage_.gone.empty()) repair_elements(repair);
    return;
  }
  put_back_whole(repair);
}

void Table::put_back_whole(Repair& repair) {
  if (const auto sent = put_back(ruleset_, flags_, live_); !sent) {
    failed(repair, without_place(sent.error()));
    return;
  }
  repair.table = true;
}

void Table::repair_elements(Repair& repair) {
  const auto now = Clock::now();
  if (damage_.elements) {
    const auto there = read_elements(socket_, config_.table);
    if (!there) return failed(repair, there.error());
    // What is about to end may have ended by the kernel's clock.
    constexpr milliseconds kMargin{100};
    for (const auto& [element, until] : live_)
      if (until > now + kMargin) damage_.gone.insert(element);
    for (const auto& one : *there) damage_.gone.erase(one.element);
  }
  Live back;
  for (const nft::Element& element : damage_.gone)
    if (const auto known = live_.find(element); known != live_.end() && known->second > now)
      back.insert(*known);
  damage_.elements = false;
  damage_.gone.clear();
  if (back.empty()) return;
  nft::Batch batch{config_.table, update_form_};
  put_live(batch, back);
  if (const auto sent = socket_.send_batch(batch.finish()); !sent) {
    // More is gone than these, or something of another program's is in their way: then only the whole helps.
    damage_.structure = damage_.elements = true;
    put_back_whole(repair);
    return;
  }
  repair.elements = back.size();
}

}  // namespace icqgate::daemon
