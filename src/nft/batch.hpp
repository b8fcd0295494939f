// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "nft/element.hpp"

namespace icqgate::nft {

// What is to be done with an element.
struct Change {
  enum class Kind : std::uint8_t {
    Add,    // put in; if it is there already, it stays with the timeout it has
    Renew,  // put in or, if there, give it this timeout anew: add + delete + add, because kernels before 6.12
            // report success for a timeout update and change nothing (kernel.md). Lookups never miss it in
            // between.
    Remove,  // take out; no error if it is gone: add + delete, since the kernel refuses the batch otherwise
  };
  Kind kind;
  Element element;
  std::chrono::milliseconds timeout{0};  // Add, Renew; 0 means for ever
};

enum class QueueForm {
  Native,
  XtTarget
};  // `queue` statement (nft_queue), or the xt NFQUEUE target (nft_compat)

// Builds one nfnetlink batch in memory: a transaction that the kernel takes whole or not at all. Order
// counts. Bytes as of include/uapi/linux/netfilter/nf_tables.h; sending is somebody else's.
class Batch {
 public:
  explicit Batch(std::string table);

  void change(const Change& change);
  // Appends, to a chain, the rule that sends packets to a queue. `bypass`: accept when nobody listens
  // (fail-open).
  void append_queue_rule(const std::string& chain, std::uint16_t queue, bool bypass, QueueForm form);
  // Clears the table's dormant flag: all of its base chains go to work at once.
  void wake_table();
  void delete_table();

  [[nodiscard]] bool empty() const noexcept { return messages_ == 0; }
  [[nodiscard]] std::size_t messages() const noexcept { return messages_; }
  // The finished bytes, with begin and end; the batch is empty afterwards.
  [[nodiscard]] std::vector<std::byte> finish();

 private:
  void begin();
  std::byte* room(std::size_t bytes);
  void element_message(bool add, const Element& element, std::chrono::milliseconds timeout);

  std::string table_;
  std::vector<std::byte> bytes_;
  std::size_t used_ = 0;
  std::size_t last_ = 0;  // where the last element message begins
  std::size_t messages_ = 0;
  std::uint32_t sequence_ = 1;
};

// Asks the kernel for the xt target NFQUEUE. One message is the answer, and what it says does not matter:
// asking makes the kernel load xt_NFQUEUE and nft_compat, which a rule in an inet table does not (the names
// of such modules begin with their family, ipt_, and inet has none: xt_prefix in net/netfilter/x_tables.c).
[[nodiscard]] std::vector<std::byte> queue_target_request(std::uint32_t sequence);

// An element as a dump of NFT_MSG_GETSETELEM brings it.
struct Dumped {
  Element element;
  std::chrono::milliseconds timeout{0};
  std::chrono::milliseconds expires{0};
};
// The request that dumps one set, and what its answers say. `message` is one netlink message.
[[nodiscard]] std::vector<std::byte> dump_request(const std::string& table, SetId set,
                                                  std::uint32_t sequence);
[[nodiscard]] std::vector<Dumped> parse_dump(SetId set, Bytes message);

}  // namespace icqgate::nft
