// SPDX-License-Identifier: GPL-2.0-or-later
#include "nft/batch.hpp"

#include <libmnl/libmnl.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/xt_NFQUEUE.h>

#include <algorithm>
#include <bit>
#include <memory>
#include <utility>

#include "base/close_with.hpp"
#include "nft/attributes.hpp"

namespace icqgate::nft {
namespace {

constexpr std::uint16_t kTableName =
    1;                              // NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, ...: all of them
constexpr std::size_t kRoom = 512;  // more than any one element message takes
constexpr std::uint32_t kQueueTargetRevision = 3;  // with xt_NFQ_info_v3

using Rule = std::unique_ptr<nftnl_rule, CloseWith<&nftnl_rule_free>>;

nlmsghdr* put_header(std::byte* where, std::uint16_t type, std::uint16_t flags, std::uint8_t family,
                     std::uint16_t resource, std::uint32_t sequence) {
  nlmsghdr* header = mnl_nlmsg_put_header(where);
  header->nlmsg_type = type;
  header->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
  header->nlmsg_seq = sequence;
  auto* extra = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(nfgenmsg)));
  extra->nfgen_family = family;
  extra->version = NFNETLINK_V0;
  extra->res_id = static_cast<std::uint16_t>(resource << 8 | resource >> 8);
  return header;
}

void put_value(nlmsghdr* header, std::uint16_t type, Bytes value) {
  nlattr* nest = mnl_attr_nest_start(header, type);
  mnl_attr_put(header, NFTA_DATA_VALUE, value.size(), value.data());
  mnl_attr_nest_end(header, nest);
}

}  // namespace

Batch::Batch(std::string table, UpdateForm form) : table_{std::move(table)}, form_{form} {}

std::byte* Batch::room(std::size_t bytes) {
  // Not cleared: libmnl clears the headers and the padding that it writes. One growth serves an announcement.
  constexpr std::size_t kFirst = 4 * kRoom;
  if (bytes_.size() < used_ + bytes) bytes_.resize(std::max({used_ + bytes, 2 * bytes_.size(), kFirst}));
  return bytes_.data() + used_;
}

void Batch::begin() {
  if (used_ != 0) return;
  const nlmsghdr* header =
      put_header(room(kRoom), NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES, 0);
  used_ += header->nlmsg_len;
}

// One element into a message of its own or, behind others for the same set that say the same, into theirs:
// what a message costs the kernel beside its elements is half of what it costs in all.
void Batch::put_element(ElementVerb verb, const Element& element, std::chrono::milliseconds timeout,
                        Afresh afresh) {
  constexpr std::uint32_t kMostBytes = 32 * 1024;  // an attribute's size has 16 bits, and so has the list's
  begin();
  const bool add = verb == ElementVerb::New;
  nlmsghdr* header = nullptr;
  nlattr* list = nullptr;
  if (last_elements_ && last_ == last_elements_->message && last_elements_->verb == verb &&
      last_elements_->set == element.set()) {
    room(kRoom);  // may move what is there
    header = reinterpret_cast<nlmsghdr*>(bytes_.data() + last_);
    list = reinterpret_cast<nlattr*>(bytes_.data() + last_elements_->list);
    if (header->nlmsg_len > kMostBytes) header = nullptr;
  }
  const bool joins = header != nullptr;
  if (!joins) {
    header = put_header(room(kRoom), nft_type(static_cast<std::uint16_t>(verb)),
                        static_cast<std::uint16_t>(add ? NLM_F_CREATE : 0), NFPROTO_INET, 0, sequence_++);
    mnl_attr_put_strz(header, NFTA_SET_ELEM_LIST_TABLE, table_.c_str());
    mnl_attr_put_strz(header, NFTA_SET_ELEM_LIST_SET, std::string{set_name(element.set())}.c_str());
    list = mnl_attr_nest_start(header, NFTA_SET_ELEM_LIST_ELEMENTS);
  }
  const std::uint32_t before = header->nlmsg_len;
  nlattr* entry = mnl_attr_nest_start(header, NFTA_LIST_ELEM);
  put_value(header, NFTA_SET_ELEM_KEY, element.key());
  if (!element.data().empty()) put_value(header, NFTA_SET_ELEM_DATA, element.data());
  if (add && timeout.count() > 0) {
    const std::uint64_t asked = to_be64(static_cast<std::uint64_t>(timeout.count()));
    mnl_attr_put_u64(header, NFTA_SET_ELEM_TIMEOUT, asked);
    // Without this an element whose timeout is the same already would not have it begin anew.
    if (afresh == Afresh::Yes) mnl_attr_put_u64(header, NFTA_SET_ELEM_EXPIRATION, asked);
  }
  mnl_attr_nest_end(header, entry);
  mnl_attr_nest_end(header, list);  // from its start to the message's present end
  if (joins) {
    used_ += header->nlmsg_len - before;
    return;
  }
  const auto list_at = static_cast<std::size_t>(reinterpret_cast<std::byte*>(list) - bytes_.data());
  end(*header);
  last_elements_ = Elements{last_, list_at, verb, element.set()};
}

void Batch::change(const Change& change) {
  using enum Change::Kind;
  if (form_ == UpdateForm::InPlace && change.kind == Renew)
    return put_element(ElementVerb::New, change.element, change.timeout, Afresh::Yes);
  if (form_ == UpdateForm::InPlace && change.kind == Remove)
    return put_element(ElementVerb::Destroy, change.element, {});
  // A removal's own add needs a timeout too: a set with timeouts takes an element without one as eternal, and
  // it must not become that if somebody reads between the lines. A set without refuses one that has it.
  const bool timed = has_timeouts(change.element.set());
  const std::chrono::milliseconds brief{timed ? 1000 : 0};
  const auto timeout = change.kind == Remove ? brief : change.timeout;
  put_element(ElementVerb::New, change.element, timeout);
  if (change.kind == Add) return;
  put_element(ElementVerb::Delete, change.element, timeout);
  if (change.kind == Renew) put_element(ElementVerb::New, change.element, timeout);
}

void Batch::append_queue_rule(const std::string& chain, std::uint16_t queue, bool bypass, QueueForm form) {
  begin();
  Rule rule{nftnl_rule_alloc()};
  nftnl_rule_set_str(rule.get(), NFTNL_RULE_TABLE, table_.c_str());
  nftnl_rule_set_str(rule.get(), NFTNL_RULE_CHAIN, chain.c_str());
  nftnl_rule_set_u32(rule.get(), NFTNL_RULE_FAMILY, NFPROTO_INET);
  if (form == QueueForm::Native) {
    nftnl_expr* expression = nftnl_expr_alloc("queue");
    nftnl_expr_set_u16(expression, NFTNL_EXPR_QUEUE_NUM, queue);
    nftnl_expr_set_u16(expression, NFTNL_EXPR_QUEUE_TOTAL, 1);
    nftnl_expr_set_u16(expression, NFTNL_EXPR_QUEUE_FLAGS, bypass ? NFT_QUEUE_FLAG_BYPASS : 0);
    nftnl_rule_add_expr(rule.get(), expression);
  } else {
    // libnftnl takes the info block over and frees it with free(); the kernel wants it 8-byte aligned in
    // size.
    constexpr std::size_t size = (sizeof(xt_NFQ_info_v3) + 7) / 8 * 8;
    auto* info = static_cast<xt_NFQ_info_v3*>(std::calloc(1, size));
    if (info == nullptr) std::abort();
    info->queuenum = queue;
    info->queues_total = 1;
    info->flags = bypass ? NFQ_FLAG_BYPASS : 0;
    nftnl_expr* expression = nftnl_expr_alloc("target");
    nftnl_expr_set_str(expression, NFTNL_EXPR_TG_NAME, "NFQUEUE");
    nftnl_expr_set_u32(expression, NFTNL_EXPR_TG_REV, kQueueTargetRevision);
    nftnl_expr_set(expression, NFTNL_EXPR_TG_INFO, info, size);
    nftnl_rule_add_expr(rule.get(), expression);
  }
  // The caller may have put rules behind: the queue rule goes to the head of its chain, hence no
  // NLM_F_APPEND.
  nlmsghdr* header =
      put_header(room(2 * kRoom), nft_type(NFT_MSG_NEWRULE), NLM_F_CREATE, NFPROTO_INET, 0, sequence_++);
  nftnl_rule_nlmsg_build_payload(header, rule.get());
  end(*header);
}

void Batch::message(std::uint16_t type, std::uint16_t flags, Bytes attributes) {
  begin();
  nlmsghdr* header =
      put_header(room(kRoom + attributes.size()), nft_type(type), flags, NFPROTO_INET, 0, sequence_++);
  mnl_attr_put_strz(header, kTableName, table_.c_str());
  std::copy(attributes.begin(), attributes.end(),
            bytes_.begin() + static_cast<std::ptrdiff_t>(used_ + header->nlmsg_len));
  header->nlmsg_len += static_cast<std::uint32_t>(attributes.size());
  end(*header);
}

void Batch::new_table(std::uint32_t flags, std::string_view comment) {
  begin();
  nlmsghdr* header =
      put_header(room(2 * kRoom), nft_type(NFT_MSG_NEWTABLE), NLM_F_CREATE, NFPROTO_INET, 0, sequence_++);
  mnl_attr_put_strz(header, kTableName, table_.c_str());
  mnl_attr_put_u32(header, NFTA_TABLE_FLAGS, to_be32(flags));
  if (!comment.empty()) {
    // Userdata: type (0, a comment), size and text with its end, as libnftables writes and reads it.
    std::vector<std::byte> data{std::byte{0}, static_cast<std::byte>(comment.size() + 1)};
    for (const char c : comment) data.push_back(static_cast<std::byte>(c));
    data.push_back(std::byte{0});
    mnl_attr_put(header, NFTA_TABLE_USERDATA, data.size(), data.data());
  }
  end(*header);
}

void Batch::delete_table() { message(NFT_MSG_DELTABLE, 0, {}); }

void Batch::end(const nlmsghdr& header) {
  last_ = used_;
  used_ += header.nlmsg_len;
  ++messages_;
}

std::vector<std::byte> Batch::finish() {
  if (messages_ != 0) reinterpret_cast<nlmsghdr*>(bytes_.data() + last_)->nlmsg_flags |= NLM_F_ACK;
  last_ = 0;
  last_elements_.reset();
  const nlmsghdr* header =
      put_header(room(kRoom), NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES, sequence_);
  used_ += header->nlmsg_len;
  bytes_.resize(used_);
  used_ = 0;
  messages_ = 0;
  sequence_ = 1;
  return std::exchange(bytes_, {});
}

std::vector<std::byte> queue_target_request(std::uint32_t sequence) {
  std::vector<std::byte> bytes(kRoom);
  nlmsghdr* header = put_header(bytes.data(), NFNL_SUBSYS_NFT_COMPAT << 8 | NFNL_MSG_COMPAT_GET, 0,
                                NFPROTO_IPV4, 0, sequence);
  mnl_attr_put_strz(header, NFTA_COMPAT_NAME, "NFQUEUE");
  mnl_attr_put_u32(header, NFTA_COMPAT_REV, to_be32(kQueueTargetRevision));
  mnl_attr_put_u32(header, NFTA_COMPAT_TYPE, to_be32(1));  // a target; 0 would be a match
  bytes.resize(header->nlmsg_len);
  return bytes;
}

}  // namespace icqgate::nft
