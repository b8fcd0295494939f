// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"
#include "nft/element.hpp"

struct nlmsghdr;

namespace icqgate::nft {

// What is to be done with an element.
struct Change {
  enum class Kind : std::uint8_t {
    Add,     // put in; if it is there already, it is the kernel's choice whether it takes this timeout
    Renew,   // put in or, if there, give it this timeout anew; lookups never miss it in between
    Remove,  // take out; no error if it is gone
  };
  Kind kind;
  Element element;
  std::chrono::milliseconds timeout{0};  // Add, Renew; 0 means for ever
};

// How an element that may be there is given a timeout anew. Kernels from 6.12 on do it in place; older ones
// report success and change nothing, so there the element is added, deleted and added again in one
// transaction. And how one that may be gone is taken out: from 6.3 on the kernel can be asked to; older ones
// refuse the whole batch, so it is added and deleted.
enum class UpdateForm : std::uint8_t { InPlace, Replace };

enum class QueueForm {
  Native,
  XtTarget
};  // `queue` statement (nft_queue), or the xt NFQUEUE target (nft_compat)

// Builds one nfnetlink batch in memory: a transaction that the kernel takes whole or not at all. Order
// counts. Bytes as of include/uapi/linux/netfilter/nf_tables.h; sending is somebody else's.
class Batch {
 public:
  explicit Batch(std::string table, UpdateForm form = UpdateForm::Replace);

  void change(const Change& change);
  // Puts, at the head of a chain, the rule that sends packets to a queue. `bypass`: accept when nobody
  // listens (fail-open).
  void append_queue_rule(const std::string& chain, std::uint16_t queue, bool bypass, QueueForm form);
  // Creates the table; with `flags` 0 it is no error if it is there. For one that is there, `flags` can only
  // be those it has, or NFT_TABLE_F_OWNER | kPersist for an orphan, which makes it ours.
  void new_table(std::uint32_t flags, std::string_view comment);
  // With everything in it; it has to be there.
  void delete_table();
  // Any other message: an NFT_MSG_..., with the attributes that follow the table's name.
  void message(std::uint16_t type, std::uint16_t flags, Bytes attributes);

  [[nodiscard]] bool empty() const noexcept { return messages_ == 0; }
  [[nodiscard]] std::size_t messages() const noexcept { return messages_; }
  // The finished bytes, with begin and end; the last message asks for an acknowledgment (errors come by
  // themselves, and before it). The batch is empty afterwards.
  [[nodiscard]] std::vector<std::byte> finish();

 private:
  std::byte* room(std::size_t bytes);
  void begin();
  void end(const nlmsghdr& header);
  enum class Afresh : bool { No, Yes };     // for an element that is there: its timeout begins anew
  enum class ElementVerb : std::uint16_t {  // NFT_MSG_...SETELEM
    New = 12,
    Delete = 14,
    Destroy = 30,  // no error if it is not there; Linux 6.3, so not in every header
  };
  void put_element(ElementVerb verb, const Element& element, std::chrono::milliseconds timeout,
                   Afresh afresh = Afresh::No);
  // The last message, if it holds elements: further ones of its kind join it.
  struct Elements {
    std::size_t message, list;  // where they begin
    ElementVerb verb;
    SetId set;
  };

  std::string table_;
  UpdateForm form_;
  std::vector<std::byte> bytes_;
  std::size_t used_ = 0;
  std::size_t last_ = 0;  // where the last message begins
  std::optional<Elements> last_elements_;
  std::size_t messages_ = 0;
  std::uint32_t sequence_ = 1;
};

// NFT_TABLE_F_PERSIST (Linux 6.9): a table with an owner outlives it. Not in the headers of Debian 12.
inline constexpr std::uint32_t kPersist = 0x4;

// Asks the kernel for the xt target NFQUEUE. One message is the answer, and what it says does not matter:
// asking makes the kernel load xt_NFQUEUE and nft_compat, which a rule in an inet table does not (the names
// of such modules begin with their family, ipt_, and inet has none: xt_prefix in net/netfilter/x_tables.c).
[[nodiscard]] std::vector<std::byte> queue_target_request(std::uint32_t sequence);

}  // namespace icqgate::nft
