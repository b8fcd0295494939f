// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "config/config.hpp"
#include "nft/batch.hpp"
#include "nft/compiled.hpp"
#include "nft/inspect.hpp"
#include "nft/ruleset.hpp"
#include "sys/nfnetlink.hpp"

namespace icqgate::daemon {

// What Table::on_events() found and did.
struct Repair {
  bool table = false;              // the whole table was put back, with everything live
  std::size_t elements = 0;        // single elements that were put back
  std::vector<std::string> added;  // "a rule into chain forward": of others, left alone, each told once
  std::string program;             // whose changes it was, as far as the kernel says; "" if not
  std::string error;               // not "": it has to be put back and the kernel did not take it
  std::optional<std::chrono::milliseconds> again;  // call on_events() then, whether or not there are events
};

// The one table of ours in the kernel. Order of calls: open(), then install() with the queues bound already,
// then the others as often as needed. Whatever fails leaves the kernel as it was, every write being one
// transaction (only the removals of apply() may land alone). With `owner` the table belongs to the netlink
// socket in here.
class Table {
 public:
  [[nodiscard]] static Result<Table, std::string> open(const config::Config& config);

  // Makes the table, or adopts what an earlier run left: if rules or sets of it differ, those are exchanged,
  // in one transaction. Its elements go on with the timeouts they have; those that this configuration would
  // not open go, and so do elements without a timeout (they can only be DNS servers of the earlier run, or
  // foreign). A table of that name that icqgate did not make is an error.
  enum class Installed { Loaded, Adopted, Replaced };
  [[nodiscard]] Result<Installed, std::string> install();

  // Goes over to another configuration: what differs of the ruleset, and `with`, in one transaction. Base
  // chains stay, so nothing that waits in a queue is lost; so do elements. False: nothing had to change. On
  // an error everything is as it was. `table` can't change.
  [[nodiscard]] Result<bool, std::string> reconfigure(const config::Config& next,
                                                      const std::vector<nft::Change>& with);

  // All of it. A table that somebody removed a moment ago is put back with it, and so is one that holds
  // something of another program's that is in the way. On an error none of it but the removals: these are
  // tried alone, and those that are refused even so again with the next on_events(), which puts back the
  // table as a whole.
  [[nodiscard]] Result<sys::Done, std::string> apply(const std::vector<nft::Change>& changes);

  // Readable: call on_events(). Looks at what others changed in the table and puts back what they took out;
  // never what has ended by itself meanwhile. The first repairs are immediate; against a program that goes on
  // and on they come at intervals, see Repair::again.
  [[nodiscard]] int events_fd() const noexcept { return events_.fd(); }
  [[nodiscard]] Repair on_events();

  // Whether there is a table that works and is ours: false after `nft flush ruleset` and its like. For a slow
  // look from time to time; events tell more and sooner.
  [[nodiscard]] bool intact();
  // Puts the table back as a whole, with the elements that are still live. On an error on_events() tries
  // again.
  [[nodiscard]] Result<sys::Done, std::string> restore();
  [[nodiscard]] Result<sys::Done, std::string> remove();

  // What it has put into that set, or adopted, and has not ended.
  [[nodiscard]] std::vector<nft::Element> elements(nft::SetId set) const;

  // Packets counted by the ruleset's named counters.
  [[nodiscard]] std::map<std::string, std::uint64_t> counters();

  [[nodiscard]] const nft::Marks& marks() const noexcept { return marks_; }
  // "queue" (nft_queue) or "xt NFQUEUE".
  [[nodiscard]] const std::string& queue_form() const noexcept { return queue_form_; }
  // "in place" or "replace": how a timeout is renewed.
  [[nodiscard]] const char* update_form() const noexcept {
    return update_form_ == nft::UpdateForm::InPlace ? "in place" : "replace";
  }
  // Nobody else can change the table.
  [[nodiscard]] bool owned() const noexcept { return flags_ != 0; }
  // Whether it outlives the process: false if it is owned and the kernel knows no flag `persist` (6.9).
  [[nodiscard]] bool persists() const noexcept { return flags_ == 0 || (flags_ & nft::kPersist) != 0; }

 private:
  using Clock = std::chrono::steady_clock;
  using Live = std::map<nft::Element, Clock::time_point>;  // time_point::max(): no timeout

  Table(const config::Config& config, sys::NftSocket socket, sys::NftEvents events);
  void put_live(nft::Batch& batch, const Live& live) const;
  [[nodiscard]] Result<sys::Done, sys::NftError> put_back(const nft::CompiledRuleset& ruleset,
                                                          std::uint32_t flags, const Live& live);
  void record(Live& live, const std::vector<nft::Change>& changes) const;
  void remove_alone(const std::vector<nft::Change>& changes);
  void prune();
  [[nodiscard]] bool worth_keeping(const nft::Element& element) const;
  [[nodiscard]] Result<std::vector<nft::Change>, std::string> take_over();

  // Events (table_events.cpp).
  struct Damage {
    bool structure = false;  // of the table, or not known: to be compared
    bool elements = false;   // any: to be compared
    bool stale = false;      // something is in there that should be gone, and the kernel kept it
    std::set<nft::Element> gone;
  };
  void read_events(Repair& repair);
  [[nodiscard]] bool may_repair(Repair& repair);
  void repair_table(Repair& repair);
  void repair_elements(Repair& repair);
  void put_back_whole(Repair& repair);

  config::Config config_;
  nft::Marks marks_;
  sys::NftSocket socket_;
  sys::NftEvents events_;
  std::string queue_form_;
  nft::UpdateForm update_form_ = nft::UpdateForm::Replace;
  std::uint32_t flags_ = 0;       // of the table: owner, persist
  nft::CompiledRuleset ruleset_;  // what was installed
  Live live_;                     // what was put in and has not ended
  std::size_t prune_at_ = 1024;   // size of live_ at which the ended ones are dropped

  Damage damage_;
  bool put_back_ = false;  // by apply(), not yet told
  std::set<std::string> additions_told_;
  std::uint64_t lost_ = 0;
  double repairs_left_ = 0;
  Clock::time_point repairs_counted_{};
};

}  // namespace icqgate::daemon
