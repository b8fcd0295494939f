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

namespace icqgate::nft {
namespace {

constexpr std::size_t kRoom = 512;                 // more than any one element message takes
constexpr std::uint32_t kQueueTargetRevision = 3;  // with xt_NFQ_info_v3

using Rule = std::unique_ptr<nftnl_rule, CloseWith<&nftnl_rule_free>>;

constexpr std::uint16_t nft_type(std::uint16_t message) { return NFNL_SUBSYS_NFTABLES << 8 | message; }

constexpr std::uint64_t to_be64(std::uint64_t value) {
  if constexpr (std::endian::native == std::endian::big) return value;
  return __builtin_bswap64(value);
}

constexpr std::uint32_t to_be32(std::uint32_t value) {
  if constexpr (std::endian::native == std::endian::big) return value;
  return __builtin_bswap32(value);
}

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

Batch::Batch(std::string table) : table_{std::move(table)} {}

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

void Batch::element_message(bool add, const Element& element, std::chrono::milliseconds timeout) {
  begin();
  nlmsghdr* header =
      put_header(room(kRoom), nft_type(add ? NFT_MSG_NEWSETELEM : NFT_MSG_DELSETELEM),
                 static_cast<std::uint16_t>(add ? NLM_F_CREATE : 0), NFPROTO_INET, 0, sequence_++);
  mnl_attr_put_strz(header, NFTA_SET_ELEM_LIST_TABLE, table_.c_str());
  mnl_attr_put_strz(header, NFTA_SET_ELEM_LIST_SET, std::string{set_name(element.set())}.c_str());
  nlattr* list = mnl_attr_nest_start(header, NFTA_SET_ELEM_LIST_ELEMENTS);
  nlattr* entry = mnl_attr_nest_start(header, NFTA_LIST_ELEM);
  put_value(header, NFTA_SET_ELEM_KEY, element.key());
  if (!element.data().empty()) put_value(header, NFTA_SET_ELEM_DATA, element.data());
  if (add && timeout.count() > 0)
    mnl_attr_put_u64(header, NFTA_SET_ELEM_TIMEOUT, to_be64(static_cast<std::uint64_t>(timeout.count())));
  mnl_attr_nest_end(header, entry);
  mnl_attr_nest_end(header, list);
  last_ = used_;
  used_ += header->nlmsg_len;
  ++messages_;
}

void Batch::change(const Change& change) {
  using enum Change::Kind;
  // A removal's own add needs a timeout too: a set with timeouts takes an element without one as eternal, and
  // it must not become that if somebody reads between the lines.
  const auto timeout = change.kind == Remove ? std::chrono::milliseconds{1000} : change.timeout;
  element_message(true, change.element, timeout);
  if (change.kind == Add) return;
  element_message(false, change.element, timeout);
  if (change.kind == Renew) element_message(true, change.element, timeout);
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
  nlmsghdr* header = put_header(room(2 * kRoom), nft_type(NFT_MSG_NEWRULE), NLM_F_ACK | NLM_F_CREATE,
                                NFPROTO_INET, 0, sequence_++);
  nftnl_rule_nlmsg_build_payload(header, rule.get());
  used_ += header->nlmsg_len;
  ++messages_;
}

void Batch::wake_table() {
  begin();
  nlmsghdr* header =
      put_header(room(kRoom), nft_type(NFT_MSG_NEWTABLE), NLM_F_ACK, NFPROTO_INET, 0, sequence_++);
  mnl_attr_put_strz(header, NFTA_TABLE_NAME, table_.c_str());
  mnl_attr_put_u32(header, NFTA_TABLE_FLAGS, 0);
  used_ += header->nlmsg_len;
  ++messages_;
}

void Batch::delete_table() {
  begin();
  nlmsghdr* header =
      put_header(room(kRoom), nft_type(NFT_MSG_DELTABLE), NLM_F_ACK, NFPROTO_INET, 0, sequence_++);
  mnl_attr_put_strz(header, NFTA_TABLE_NAME, table_.c_str());
  used_ += header->nlmsg_len;
  ++messages_;
}

std::vector<std::byte> Batch::finish() {
  if (last_ != 0) reinterpret_cast<nlmsghdr*>(bytes_.data() + last_)->nlmsg_flags |= NLM_F_ACK;
  last_ = 0;
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

std::vector<std::byte> dump_request(const std::string& table, SetId set, std::uint32_t sequence) {
  std::vector<std::byte> bytes(kRoom);
  nlmsghdr* header =
      put_header(bytes.data(), nft_type(NFT_MSG_GETSETELEM), NLM_F_DUMP, NFPROTO_INET, 0, sequence);
  mnl_attr_put_strz(header, NFTA_SET_ELEM_LIST_TABLE, table.c_str());
  mnl_attr_put_strz(header, NFTA_SET_ELEM_LIST_SET, std::string{set_name(set)}.c_str());
  bytes.resize(header->nlmsg_len);
  return bytes;
}

namespace {

// Calls `visit(const nlattr*)` for each attribute in a row of them. (mnl_attr_for_each is a macro that only C
// can take.)
template <class Visit>
void each_attribute(const void* start, std::size_t size, Visit visit) {
  const auto* attribute = static_cast<const nlattr*>(start);
  const auto* end = static_cast<const std::byte*>(start) + size;
  while (mnl_attr_ok(attribute, static_cast<int>(end - reinterpret_cast<const std::byte*>(attribute)))) {
    visit(attribute);
    attribute = mnl_attr_next(attribute);
  }
}

template <class Visit>
void each_nested(const nlattr* nest, Visit visit) {
  each_attribute(mnl_attr_get_payload(nest), mnl_attr_get_payload_len(nest), visit);
}

// The attributes of one nest by type; a later one of the same type wins.
template <std::size_t Count>
std::array<const nlattr*, Count> attributes(const nlattr* nest) {
  std::array<const nlattr*, Count> table{};
  each_nested(nest, [&table](const nlattr* attribute) {
    const auto type = mnl_attr_get_type(attribute);
    if (type < Count) table[type] = attribute;
  });
  return table;
}

Bytes value_of(const nlattr* nest) {
  if (nest == nullptr) return {};
  const auto inner = attributes<NFTA_DATA_MAX + 1>(nest);
  const nlattr* value = inner[NFTA_DATA_VALUE];
  if (value == nullptr) return {};
  return {static_cast<const std::byte*>(mnl_attr_get_payload(value)), mnl_attr_get_payload_len(value)};
}

std::chrono::milliseconds milliseconds_of(const nlattr* attribute) {
  if (attribute == nullptr || mnl_attr_get_payload_len(attribute) != 8) return std::chrono::milliseconds{0};
  return std::chrono::milliseconds{static_cast<std::int64_t>(to_be64(mnl_attr_get_u64(attribute)))};
}

}  // namespace

std::vector<Dumped> parse_dump(SetId set, Bytes message) {
  std::vector<Dumped> found;
  if (message.size() < sizeof(nlmsghdr) + sizeof(nfgenmsg)) return found;
  const auto* header = reinterpret_cast<const nlmsghdr*>(message.data());
  if (header->nlmsg_type != nft_type(NFT_MSG_NEWSETELEM) || header->nlmsg_len > message.size()) return found;
  const auto* rest = static_cast<const std::byte*>(mnl_nlmsg_get_payload_offset(header, sizeof(nfgenmsg)));
  const auto* end = reinterpret_cast<const std::byte*>(header) + header->nlmsg_len;
  if (rest > end) return found;
  each_attribute(rest, static_cast<std::size_t>(end - rest), [&](const nlattr* attribute) {
    if (mnl_attr_get_type(attribute) != NFTA_SET_ELEM_LIST_ELEMENTS) return;
    each_nested(attribute, [&](const nlattr* entry) {
      const auto fields = attributes<NFTA_SET_ELEM_MAX + 1>(entry);
      const auto element = Element::from_kernel(set, value_of(fields[NFTA_SET_ELEM_KEY]),
                                                value_of(fields[NFTA_SET_ELEM_DATA]));
      if (!element) return;
      found.push_back({*element, milliseconds_of(fields[NFTA_SET_ELEM_TIMEOUT]),
                       milliseconds_of(fields[NFTA_SET_ELEM_EXPIRATION])});
    });
  });
  return found;
}

}  // namespace icqgate::nft
