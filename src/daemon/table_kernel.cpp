// SPDX-License-Identifier: GPL-2.0-or-later
#include "daemon/table_kernel.hpp"

#include <fmt/format.h>
#include <linux/netfilter/nf_tables.h>

#include <algorithm>
#include <cerrno>

#include "config/ruleset_options.hpp"
#include "sys/ruleset_loader.hpp"

namespace icqgate::daemon {
namespace {

using std::chrono::milliseconds;

Bytes bytes_of(const nlmsghdr* message) {
  return {reinterpret_cast<const std::byte*>(message), message->nlmsg_len};
}

// No table of a configuration can be named like this: there a name has no '-'.
std::string beside(const std::string& table) { return table + "-new"; }

// A dump that others' changes interrupt has to be asked for again; who changes all the time gets no answer.
Result<sys::Done, sys::NftError> dump(sys::NftSocket& socket, Bytes request,
                                      const std::function<void(Bytes)>& handler) {
  constexpr int kTries = 20;
  for (int i = 1;; ++i) {
    std::vector<std::vector<std::byte>> messages;
    auto done = socket.dump(request, [&messages](const nlmsghdr* message) {
      const Bytes bytes = bytes_of(message);
      messages.emplace_back(bytes.begin(), bytes.end());
    });
    if (!done && done.error().code == EINTR && i < kTries) continue;
    if (done)
      for (const auto& message : messages) handler(message);
    return done;
  }
}

void delete_table(sys::NftSocket& socket, const std::string& table) {
  nft::Batch batch{table};
  batch.delete_table();
  (void)socket.send_batch(batch.finish());
}

Result<nft::QueueForm, std::string> add_queue_rules(sys::NftSocket& socket, const std::string& table,
                                                    const config::Config& config, bool check_peers) {
  // The kernel itself is the probe: nft_queue where it has it, the xt target else (kernel.md).
  std::string first_error;
  for (const auto form : {nft::QueueForm::Native, nft::QueueForm::XtTarget}) {
    if (form == nft::QueueForm::XtTarget)
      (void)socket.dump(nft::queue_target_request(1), [](const nlmsghdr*) {});
    nft::Batch batch{table};
    batch.append_queue_rule(nft::kControlChain, config.queue_control, true, form);
    batch.append_queue_rule(nft::kNamesChain, config.queue_names, true, form);
    if (check_peers) batch.append_queue_rule(nft::kPeerChain, config.queue_peer, false, form);
    const auto sent = socket.send_batch(batch.finish());
    if (sent) return form;
    if (!first_error.empty())
      return tl::make_unexpected(
          fmt::format("this kernel takes neither the queue statement ({}) nor the NFQUEUE target ({}); it "
                      "needs the module nft_queue, or xt_NFQUEUE and nft_compat",
                      first_error, to_string(sent.error())));
    first_error = to_string(sent.error());
  }
  return tl::make_unexpected(first_error);
}

// An element is given a longer timeout in place, and read again.
nft::UpdateForm probe_update(sys::NftSocket& socket, const std::string& table) {
  constexpr milliseconds kShort{60'000}, kLong{3'600'000};
  const auto element = nft::Element::session(make_ipv4(127, 0, 0, 1));
  for (const auto timeout : {kShort, kLong}) {
    nft::Batch batch{table, nft::UpdateForm::InPlace};
    batch.change({nft::Change::Kind::Renew, element, timeout});
    if (!socket.send_batch(batch.finish())) return nft::UpdateForm::Replace;
  }
  bool longer = false;
  (void)dump(socket, nft::dump_request(table, nft::set_name(element.set()), 1), [&](Bytes message) {
    for (const auto& one : nft::parse_dump(element.set(), message))
      if (one.element == element) longer = one.timeout == kLong && one.expires > kShort;
  });
  return longer ? nft::UpdateForm::InPlace : nft::UpdateForm::Replace;
}

}  // namespace

std::string without_place(const sys::NftError& error) { return to_string(sys::NftError{error.code, 0}); }

ScratchTable::~ScratchTable() {
  if (socket_ != nullptr) delete_table(*socket_, name_);
}

Result<std::optional<nft::TableInfo>, std::string> look(sys::NftSocket& socket, const std::string& table) {
  std::optional<nft::TableInfo> there;
  const auto asked = socket.dump(nft::table_request(table, 1), [&there](const nlmsghdr* message) {
    if (const auto info = nft::parse_table(bytes_of(message))) there = info;
  });
  if (!asked && asked.error().code != ENOENT) return tl::make_unexpected(to_string(asked.error()));
  return there;
}

Result<nft::CompiledRuleset, std::string> read_ruleset(sys::NftSocket& socket, const std::string& table) {
  nft::RulesetReader reader{table};
  const auto read = [&](const std::vector<std::byte>& request) {
    return dump(socket, request, [&reader](Bytes message) { reader.read(message); });
  };
  for (const auto& request : reader.requests())
    if (const auto done = read(request); !done) return tl::make_unexpected(to_string(done.error()));
  for (const auto& set : reader.fixed_sets())
    if (const auto done = read(nft::dump_request(table, set, 1)); !done)
      return tl::make_unexpected(to_string(done.error()));
  return reader.take();
}

Result<std::vector<nft::Dumped>, std::string> read_elements(sys::NftSocket& socket,
                                                            const std::string& table) {
  std::vector<nft::Dumped> all;
  for (std::size_t i = 0; i < nft::kSetCount; ++i) {
    const auto set = static_cast<nft::SetId>(i);
    const auto done = dump(socket, nft::dump_request(table, nft::set_name(set), 1), [&](Bytes message) {
      const auto some = nft::parse_dump(set, message);
      all.insert(all.end(), some.begin(), some.end());
    });
    if (!done && done.error().code != ENOENT) return tl::make_unexpected(to_string(done.error()));
  }
  return all;
}

Result<Compiled, std::string> compile(sys::NftSocket& socket, const config::Config& config) {
  auto options = config::ruleset_options(config);
  options.table = beside(config.table);
  // One that a run left which was killed in here goes first. Not by a line in the text: the kernel lets a
  // socket that has just deleted something wait when it is closed (15 ms), and libnftables closes its own.
  if (const auto left = look(socket, options.table); left && *left) delete_table(socket, options.table);
  const std::string text = nft::dynamic_ruleset(options, nft::Loading::Dormant);
  if (auto loaded = sys::load_ruleset(text, sys::DryRun::No); !loaded)
    return tl::make_unexpected(std::move(loaded.error()));
  ScratchTable scratch{socket, options.table};
  const auto form = add_queue_rules(socket, options.table, config, options.check_peers);
  if (!form) return tl::make_unexpected(form.error());
  auto ruleset = read_ruleset(socket, options.table);
  if (!ruleset) return tl::make_unexpected(ruleset.error());
  const auto update = config.timeout_update == config::TimeoutUpdate::Replace
                          ? nft::UpdateForm::Replace
                          : probe_update(socket, options.table);
  return Compiled{std::move(*ruleset), *form, update, std::move(scratch)};
}

std::uint32_t owner_flags(sys::NftSocket& socket, const std::string& table) {
  for (const std::uint32_t flags : {NFT_TABLE_F_OWNER | nft::kPersist, std::uint32_t{NFT_TABLE_F_OWNER}}) {
    nft::Batch batch{table + "-owned"};  // there and gone in one transaction
    batch.new_table(flags, nft::kTableComment);
    batch.delete_table();
    if (socket.send_batch(batch.finish())) return flags;
  }
  return 0;
}

}  // namespace icqgate::daemon
