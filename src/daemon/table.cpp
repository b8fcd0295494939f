// SPDX-License-Identifier: GPL-2.0-or-later
#include "daemon/table.hpp"

#include <fmt/format.h>
#include <linux/netfilter/nf_tables.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <span>

#include "config/ruleset_options.hpp"
#include "daemon/table_kernel.hpp"

namespace icqgate::daemon {

using std::chrono::milliseconds;
using Kind = nft::Change::Kind;

namespace {

bool contains(const std::vector<nft::SetId>& sets, nft::SetId set) {
  return std::find(sets.begin(), sets.end(), set) != sets.end();
}

// Those of these sets.
template <class Live>
Live only(Live live, const std::vector<nft::SetId>& sets) {
  std::erase_if(live, [&](const auto& one) { return !contains(sets, one.first.set()); });
  return live;
}

}  // namespace

Table::Table(const config::Config& config, sys::NftSocket socket, sys::NftEvents events)
    : config_{config},
      marks_{nft::marks_of(config.mark_mask)},
      socket_{std::move(socket)},
      events_{std::move(events)} {}

Result<Table, std::string> Table::open(const config::Config& config) {
  auto socket = sys::NftSocket::open();
  if (!socket) return tl::make_unexpected(to_string(socket.error()));
  auto events = sys::NftEvents::open();
  if (!events) return tl::make_unexpected(to_string(events.error()));
  if (const auto ignored = events->ignore(socket->port_id()); !ignored)
    return tl::make_unexpected(to_string(ignored.error()));
  return Table{config, std::move(*socket), std::move(*events)};
}

void Table::put_live(nft::Batch& batch, const Live& live) const {
  const auto now = Clock::now();
  for (const auto& [element, until] : live) {
    if (until <= now) continue;
    const bool ends = until != Clock::time_point::max();
    batch.change({Kind::Add, element, ends ? std::chrono::ceil<milliseconds>(until - now) : milliseconds{0}});
  }
}

Result<sys::Done, sys::NftError> Table::put_back(const nft::CompiledRuleset& ruleset, std::uint32_t flags,
                                                 const Live& live) {
  nft::Batch batch{config_.table, update_form_};
  nft::put_table(batch, ruleset, flags, nft::kTableComment);
  put_live(batch, live);
  auto sent = socket_.send_batch(batch.finish());
  if (sent) damage_ = {};
  return sent;
}

Result<Table::Installed, std::string> Table::install() {
  const auto there = look(socket_, config_.table);
  if (!there) return tl::make_unexpected(there.error());
  if (*there && !(*there)->comment.starts_with(nft::kTableComment))
    return tl::make_unexpected(
        fmt::format("there is a table inet {} that icqgate did not make; remove it or choose "
                    "another name with 'table'",
                    config_.table));
  auto compiled = compile(socket_, config_);
  if (!compiled) return tl::make_unexpected(compiled.error());
  ruleset_ = std::move(compiled->ruleset);
  queue_form_ = compiled->queue_form == nft::QueueForm::Native ? "queue" : "xt NFQUEUE";
  update_form_ = compiled->update_form;
  flags_ = config_.owner ? owner_flags(socket_, config_.table) : 0;

  const auto refused = [this](const sys::NftError& error) {
    return tl::make_unexpected(
        error.code == EPERM ? fmt::format("table inet {} belongs to another program that runs", config_.table)
                            : to_string(error));
  };
  if (!*there) {
    if (const auto sent = put_back(ruleset_, flags_, {}); !sent) return refused(sent.error());
    return Installed::Loaded;
  }
  const auto unwanted = take_over();
  if (!unwanted) return tl::make_unexpected(unwanted.error());
  // The flags of a table stay as they are, but that an orphan (persist alone) can be taken over.
  const std::uint32_t had = (*there)->flags;
  if (const bool adoptable = (flags_ & nft::kPersist) != 0 ? had == nft::kPersist : had == flags_;
      !adoptable) {
    if (const auto sent = put_back(ruleset_, flags_, live_); !sent) return refused(sent.error());
    return Installed::Replaced;
  }
  const auto have = read_ruleset(socket_, config_.table);
  if (!have) return tl::make_unexpected(have.error());
  nft::Batch batch{config_.table, update_form_};
  if (flags_ != 0) batch.new_table(flags_, {});  // and if it is not ours to take, the kernel says so
  const auto difference = nft::put_difference(batch, *have, ruleset_);
  for (const nft::Change& change : *unwanted) {
    const nft::SetId set = change.element.set();
    if (ruleset_.sets.contains(std::string{nft::set_name(set)}) && !contains(difference.emptied, set))
      batch.change(change);
  }
  put_live(batch, only(live_, difference.emptied));
  if (!batch.empty())
    if (const auto sent = socket_.send_batch(batch.finish()); !sent) return refused(sent.error());
  return difference.any ? Installed::Replaced : Installed::Adopted;
}

bool Table::worth_keeping(const nft::Element& element) const {
  const auto own_port = [this](Bytes port) {
    ByteReader reader{port};
    const Port number{reader.u16be().value_or(0)};
    return config_.port_range.contains(number) && !config::is_denied(number, config_);
  };
  switch (element.set()) {
    case nft::SetId::Pinholes:
      return own_port(element.key().subspan(4));
    case nft::SetId::Returns:
      return own_port(element.key().subspan(8));
    case nft::SetId::Forwards:
      return config_.masquerade && own_port(element.key());
    default:
      return true;
  }
}

// Fills live_ with the elements that are in the kernel; returns how those go that are not to stay.
Result<std::vector<nft::Change>, std::string> Table::take_over() {
  const auto elements = read_elements(socket_, config_.table);
  if (!elements) return tl::make_unexpected(elements.error());
  std::vector<nft::Change> unwanted;
  const auto now = Clock::now();
  for (const auto& [element, timeout, expires] : *elements) {
    if (expires.count() > 0 && worth_keeping(element)) {
      live_.insert_or_assign(element, now + expires);
    } else {
      unwanted.push_back({Kind::Remove, element, {}});
    }
  }
  return unwanted;
}

void Table::record(Live& live, const std::vector<nft::Change>& changes) const {
  const auto now = Clock::now();
  for (const nft::Change& change : changes) {
    if (change.kind == Kind::Remove) {
      live.erase(change.element);
    } else {
      live.insert_or_assign(change.element,
                            change.timeout.count() > 0 ? now + change.timeout : Clock::time_point::max());
    }
  }
}

void Table::prune() {
  if (live_.size() < prune_at_) return;
  // The kernel's clock for timeouts is a coarse one: what has just ended here may be there yet, and must not
  // be taken for absent.
  constexpr std::chrono::seconds kMargin{2};
  const auto now = Clock::now();
  std::erase_if(live_, [&](const auto& one) { return one.second < now - kMargin; });
  prune_at_ = std::max<std::size_t>(1024, 2 * live_.size());
}

Result<bool, std::string> Table::reconfigure(const config::Config& next,
                                             const std::vector<nft::Change>& with) {
  if (next.table != config_.table)
    return tl::make_unexpected(
        fmt::format("table: {} can't become {} while icqgate runs; restart it", config_.table, next.table));
  auto compiled = compile(socket_, next);
  if (!compiled) return tl::make_unexpected(compiled.error());
  const std::uint32_t flags =
      next.owner == config_.owner ? flags_ : (next.owner ? owner_flags(socket_, next.table) : 0);

  Live live = live_;
  std::erase_if(live, [&](const auto& one) {
    return !compiled->ruleset.sets.contains(std::string{nft::set_name(one.first.set())});
  });
  nft::Batch batch{next.table, compiled->update_form};
  if (flags != flags_) {
    nft::put_table(batch, compiled->ruleset, flags, nft::kTableComment);
    put_live(batch, live);
  } else {
    const auto difference = nft::put_difference(batch, ruleset_, compiled->ruleset);
    put_live(batch, only(live, difference.emptied));
  }
  for (const nft::Change& change : with) batch.change(change);
  record(live, with);
  const bool changed = !batch.empty();
  if (changed) {
    if (const auto sent = socket_.send_batch(batch.finish()); !sent) {
      // Somebody has just taken out what was to be changed: the new table comes as a whole.
      if (sent.error().code != ENOENT) return tl::make_unexpected(to_string(sent.error()));
      if (const auto whole = put_back(compiled->ruleset, flags, live); !whole)
        return tl::make_unexpected(to_string(whole.error()));
    }
  }
  ruleset_ = std::move(compiled->ruleset);
  update_form_ = compiled->update_form;
  queue_form_ = compiled->queue_form == nft::QueueForm::Native ? "queue" : "xt NFQUEUE";
  marks_ = nft::marks_of(next.mark_mask);
  flags_ = flags;
  live_ = std::move(live);
  config_ = next;
  return changed;
}

Result<sys::Done, std::string> Table::apply(const std::vector<nft::Change>& changes) {
  if (changes.empty()) return sys::Done{};
  nft::Batch batch{config_.table, update_form_};
  for (nft::Change change : changes) {
    // One message instead of three where it can't be there yet: what an announcement waits for.
    if (change.kind == Kind::Renew && !live_.contains(change.element)) change.kind = Kind::Add;
    batch.change(change);
  }
  if (const auto sent = socket_.send_batch(batch.finish()); !sent) {
    // Gone, and the event that says so not read yet; or something of another program's is in the way.
    Live live = live_;
    record(live, changes);
    if (const auto whole = put_back(ruleset_, flags_, live); !whole) {
      remove_alone(changes);
      const auto first = without_place(sent.error()), second = without_place(whole.error());
      return tl::make_unexpected(
          first == second ? first : fmt::format("{}; with the table as a whole: {}", first, second));
    }
    put_back_ = true;
  }
  record(live_, changes);
  prune();
  return sys::Done{};
}

// What is to close must close, whatever becomes of the rest: all at once, or else one by one.
void Table::remove_alone(const std::vector<nft::Change>& changes) {
  std::vector<nft::Change> removals;
  std::copy_if(changes.begin(), changes.end(), std::back_inserter(removals),
               [](const nft::Change& change) { return change.kind == Kind::Remove; });
  if (removals.empty()) return;
  // The kernel may have them yet. But no repair is to put back what should be gone.
  record(live_, removals);
  const auto send = [this](std::span<const nft::Change> some) {
    nft::Batch batch{config_.table, update_form_};
    for (const nft::Change& change : some) batch.change(change);
    return socket_.send_batch(batch.finish());
  };
  const auto all = send(removals);
  if (all) return;
  const bool one_to_blame = all.error().sequence != 0;
  for (const nft::Change& one : removals) {
    const auto sent = one_to_blame ? send({&one, 1}) : all;
    if (!sent && sent.error().code != ENOENT) damage_.stale = true;
  }
}

bool Table::intact() {
  const auto there = look(socket_, config_.table);
  if (!there) return true;  // not known: nothing is torn down for that
  return *there && ((*there)->flags & NFT_TABLE_F_DORMANT) == 0 &&
         (*there)->comment.starts_with(nft::kTableComment);
}

Result<sys::Done, std::string> Table::restore() {
  if (const auto sent = put_back(ruleset_, flags_, live_); !sent) {
    damage_.structure = damage_.elements = true;
    return tl::make_unexpected(without_place(sent.error()));
  }
  return sys::Done{};
}

Result<sys::Done, std::string> Table::remove() {
  nft::Batch batch{config_.table};
  batch.delete_table();
  if (const auto sent = socket_.send_batch(batch.finish()); !sent)
    return tl::make_unexpected(to_string(sent.error()));
  return sys::Done{};
}

std::vector<nft::Element> Table::elements(nft::SetId set) const {
  std::vector<nft::Element> found;
  const auto now = Clock::now();
  for (const auto& [element, until] : live_)
    if (element.set() == set && until > now) found.push_back(element);
  return found;
}

std::map<std::string, std::uint64_t> Table::counters() {
  std::map<std::string, std::uint64_t> counters;
  (void)socket_.dump(nft::counters_request(config_.table, 1), [&](const nlmsghdr* message) {
    const Bytes bytes{reinterpret_cast<const std::byte*>(message), message->nlmsg_len};
    if (const auto counter = nft::parse_counter(bytes, config_.table))
      counters[counter->name] = counter->packets;
  });
  return counters;
}

}  // namespace icqgate::daemon
