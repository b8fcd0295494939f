// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "config/config.hpp"
#include "nft/batch.hpp"
#include "nft/inspect.hpp"
#include "nft/ruleset.hpp"
#include "sys/nfnetlink.hpp"

namespace icqgate::daemon {

// The one table of ours in the kernel. Order of calls: open(), then install() with the queues bound already,
// then apply() as often as needed. Whatever fails leaves the kernel as it was: every write is one
// transaction.
class Table {
 public:
  [[nodiscard]] static Result<Table, std::string> open(const config::Config& config);

  // Loads the ruleset, or adopts the one that an earlier run left if it is the very same: its elements go on
  // with the timeouts they have. A differing table of ours is replaced in one transaction, the elements that
  // this configuration would still open carried over. A table of that name that icqgate did not make is an
  // error.
  enum class Installed { Loaded, Adopted, Replaced };
  [[nodiscard]] Result<Installed, std::string> install();

  // Whether the table in the kernel is the one that was installed: false after `nft flush ruleset` and its
  // like.
  [[nodiscard]] bool intact();
  // Puts a table that somebody else removed or replaced back, with the elements that are still live.
  [[nodiscard]] Result<sys::Done, std::string> restore();

  // All of it or, on an error, nothing.
  [[nodiscard]] Result<sys::Done, std::string> apply(const std::vector<nft::Change>& changes);

  [[nodiscard]] Result<sys::Done, std::string> remove();

  // Packets counted by the ruleset's named counters.
  [[nodiscard]] std::map<std::string, std::uint64_t> counters();

  [[nodiscard]] const nft::Marks& marks() const noexcept { return marks_; }
  // "queue" (nft_queue), "xt NFQUEUE", or "as adopted": whichever an earlier run found.
  [[nodiscard]] const std::string& queue_form() const noexcept { return queue_form_; }

 private:
  Table(const config::Config& config, sys::NftSocket socket);
  [[nodiscard]] Result<std::optional<nft::TableInfo>, std::string> look();
  [[nodiscard]] std::vector<nft::Change> worth_keeping();
  [[nodiscard]] Result<sys::Done, std::string> load(const std::string& before,
                                                    const std::vector<nft::Change>& elements);
  [[nodiscard]] Result<sys::Done, std::string> wake(const std::vector<nft::Change>& elements);

  config::Config config_;
  nft::RulesetOptions options_;
  nft::Marks marks_;
  sys::NftSocket socket_;
  std::string queue_form_;
  using Clock = std::chrono::steady_clock;
  std::map<nft::Element, Clock::time_point> live_;  // what was put in and has not ended: for restore()
  std::size_t prune_at_ = 1024;                     // size of live_ at which the ended ones are dropped
  bool all_known_ =
      false;  // nothing is in the table that is not in live_, so what is new there needs no Renew
};

}  // namespace icqgate::daemon
