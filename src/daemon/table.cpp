// SPDX-License-Identifier: GPL-2.0-or-later
#include "daemon/table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "config/ruleset_options.hpp"
#include "nft/inspect.hpp"
#include "sys/log.hpp"
#include "sys/ruleset_loader.hpp"

namespace icqgate::daemon {

namespace {

constexpr const char* kSignature = "icqgate ";  // before the fingerprint in the table's comment

Bytes bytes_of(const nlmsghdr* message) {
  return {reinterpret_cast<const std::byte*>(message), message->nlmsg_len};
}

}  // namespace

Table::Table(const config::Config& config, sys::NftSocket socket)
    : config_{config},
      options_{config::ruleset_options(config)},
      marks_{nft::marks_of(config.mark_mask)},
      socket_{std::move(socket)} {}

Result<Table, std::string> Table::open(const config::Config& config) {
  auto socket = sys::NftSocket::open();
  if (!socket) return tl::make_unexpected(to_string(socket.error()));
  return Table{config, std::move(*socket)};
}

// The table as the kernel has it; nullopt if there is none.
Result<std::optional<nft::TableInfo>, std::string> Table::look() {
  std::optional<nft::TableInfo> there;
  const auto asked = socket_.dump(nft::table_request(options_.table, 1), [&there](const nlmsghdr* message) {
    if (const auto info = nft::parse_table(bytes_of(message))) there = info;
  });
  if (!asked && asked.error().code != ENOENT) return tl::make_unexpected(to_string(asked.error()));
  return there;
}

Result<Table::Installed, std::string> Table::install() {
  const auto looked = look();
  if (!looked) return tl::make_unexpected(looked.error());
  const auto& there = *looked;
  if (there && !there->comment.starts_with(kSignature))
    return tl::make_unexpected(
        fmt::format("there is a table inet {} that icqgate did not make; remove it or choose "
                    "another name with 'table'",
                    options_.table));
  if (there && !there->dormant && there->comment == kSignature + nft::fingerprint(options_)) {
    queue_form_ = "as adopted";
    return Installed::Adopted;
  }
  // The old table goes in the same transaction as the new one comes; the new one sleeps until the rules that
  // libnftables has no words for are in it too, and then wakes in one moment.
  std::vector<nft::Change> kept;
  std::string text;
  if (there) {
    kept = worth_keeping();
    text = fmt::format("delete table inet {}\n", options_.table);
  }
  if (auto loaded = load(text, kept); !loaded) return tl::make_unexpected(std::move(loaded.error()));
  all_known_ = kept.empty();
  return there ? Installed::Replaced : Installed::Loaded;
}

Result<sys::Done, std::string> Table::load(const std::string& before,
                                           const std::vector<nft::Change>& elements) {
  const std::string text = before + nft::dynamic_ruleset(options_, nft::Loading::Dormant);
  if (auto loaded = sys::load_ruleset(text, sys::DryRun::No); !loaded)
    return tl::make_unexpected(std::move(loaded.error()));
  if (auto woken = wake(elements); !woken) {
    (void)remove();
    return woken;
  }
  return sys::Done{};
}

bool Table::intact() {
  const auto there = look();
  if (!there) return true;  // not known: nothing is torn down for that
  return *there && !(*there)->dormant && (*there)->comment == kSignature + nft::fingerprint(options_);
}

Result<sys::Done, std::string> Table::restore() {
  std::vector<nft::Change> elements;
  const auto now = Clock::now();
  std::erase_if(live_, [now](const auto& one) { return one.second <= now; });
  for (const auto& [element, until] : live_)
    elements.push_back(
        {nft::Change::Kind::Add, element,
         std::chrono::duration_cast<std::chrono::milliseconds>(until - now) + std::chrono::milliseconds{1}});
  const auto there = look();
  return load(there && *there ? fmt::format("delete table inet {}\n", options_.table) : "", elements);
}

Result<sys::Done, std::string> Table::wake(const std::vector<nft::Change>& elements) {
  // The kernel itself is the probe: nft_queue where it has it, the xt target else (kernel.md).
  std::string first_error;
  for (const auto form : {nft::QueueForm::Native, nft::QueueForm::XtTarget}) {
    if (form == nft::QueueForm::XtTarget)
      (void)socket_.dump(nft::queue_target_request(1), [](const nlmsghdr*) {});
    nft::Batch batch{options_.table};
    batch.append_queue_rule(nft::kControlChain, config_.queue_control, true, form);
    if (options_.check_peers) batch.append_queue_rule(nft::kPeerChain, config_.queue_peer, false, form);
    for (const nft::Change& change : elements) batch.change(change);
    batch.wake_table();
    const auto sent = socket_.send_batch(batch.finish());
    if (sent) {
      queue_form_ = form == nft::QueueForm::Native ? "queue" : "xt NFQUEUE";
      return sys::Done{};
    }
    if (first_error.empty())
      first_error = to_string(sent.error());
    else
      return tl::make_unexpected(
          fmt::format("this kernel takes neither the queue statement ({}) nor the NFQUEUE target ({}); it "
                      "needs the module "
                      "nft_queue, or xt_NFQUEUE and nft_compat",
                      first_error, to_string(sent.error())));
  }
  return tl::make_unexpected(first_error);
}

std::vector<nft::Change> Table::worth_keeping() {
  std::vector<nft::Change> kept;
  const auto own_port = [this](Bytes port) {
    ByteReader reader{port};
    const Port number{reader.u16be().value_or(0)};
    return config_.port_range.contains(number) && !config::is_denied(number, config_);
  };
  for (std::size_t i = 0; i < nft::kSetCount; ++i) {
    const auto set = static_cast<nft::SetId>(i);
    if (set == nft::SetId::Forwards && !config_.masquerade) continue;
    (void)socket_.dump(nft::dump_request(options_.table, set, 1), [&](const nlmsghdr* message) {
      for (const auto& [element, timeout, expires] : nft::parse_dump(set, bytes_of(message))) {
        const Bytes key = element.key();
        const bool ours = set == nft::SetId::Pinholes   ? own_port(key.subspan(4))
                          : set == nft::SetId::Returns  ? own_port(key.subspan(8))
                          : set == nft::SetId::Forwards ? own_port(key)
                                                        : true;
        if (ours && expires.count() > 0) kept.push_back({nft::Change::Kind::Add, element, expires});
      }
    });
  }
  return kept;
}

Result<sys::Done, std::string> Table::apply(const std::vector<nft::Change>& changes) {
  // Larger batches overrun the send buffer (kernel.md, trap 8).
  constexpr std::size_t kMost = 1000;
  for (std::size_t from = 0; from < changes.size(); from += kMost) {
    nft::Batch batch{options_.table};
    for (std::size_t i = from; i < std::min(changes.size(), from + kMost); ++i) {
      nft::Change change = changes[i];
      // One message instead of three where it can't be there yet: what an announcement waits for.
      if (change.kind == nft::Change::Kind::Renew && all_known_ && !live_.contains(change.element))
        change.kind = nft::Change::Kind::Add;
      batch.change(change);
    }
    if (const auto sent = socket_.send_batch(batch.finish()); !sent)
      return tl::make_unexpected(to_string(sent.error()));
  }
  const auto now = Clock::now();
  for (const nft::Change& change : changes) {
    if (change.kind == nft::Change::Kind::Remove) {
      live_.erase(change.element);
    } else {
      live_.insert_or_assign(change.element, now + change.timeout);
    }
  }
  if (live_.size() >= prune_at_) {
    std::erase_if(live_, [now](const auto& one) { return one.second <= now; });
    prune_at_ = std::max<std::size_t>(1024, 2 * live_.size());
  }
  return sys::Done{};
}

Result<sys::Done, std::string> Table::remove() {
  nft::Batch batch{options_.table};
  batch.delete_table();
  if (const auto sent = socket_.send_batch(batch.finish()); !sent)
    return tl::make_unexpected(to_string(sent.error()));
  return sys::Done{};
}

std::map<std::string, std::uint64_t> Table::counters() {
  std::map<std::string, std::uint64_t> counters;
  (void)socket_.dump(nft::counters_request(options_.table, 1), [&](const nlmsghdr* message) {
    if (const auto counter = nft::parse_counter(bytes_of(message), options_.table))
      counters[counter->name] = counter->packets;
  });
  return counters;
}

}  // namespace icqgate::daemon
