// SPDX-License-Identifier: GPL-2.0-or-later
#include "nft/inspect.hpp"

#include <libmnl/libmnl.h>
#include <libnftnl/object.h>
#include <libnftnl/table.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include <array>
#include <bit>
#include <memory>

#include "base/close_with.hpp"
#include "nft/attributes.hpp"

namespace icqgate::nft {
namespace {

using Table = std::unique_ptr<nftnl_table, CloseWith<&nftnl_table_free>>;
using Object = std::unique_ptr<nftnl_obj, CloseWith<&nftnl_obj_free>>;

std::vector<std::byte> request(std::uint16_t message, std::uint16_t flags, std::uint32_t sequence,
                               void (*build)(nlmsghdr*, const std::string&), const std::string& table) {
  std::vector<std::byte> bytes(512);
  nlmsghdr* header =
      nftnl_nlmsg_build_hdr(reinterpret_cast<char*>(bytes.data()), message, NFPROTO_INET, flags, sequence);
  build(header, table);
  bytes.resize(header->nlmsg_len);
  return bytes;
}

const nlmsghdr* header_of(Bytes message) {
  const auto* header = reinterpret_cast<const nlmsghdr*>(message.data());
  return message.size() >= sizeof(nlmsghdr) && header->nlmsg_len <= message.size() ? header : nullptr;
}

std::chrono::milliseconds milliseconds_of(const nlattr* attribute) {
  if (attribute == nullptr || mnl_attr_get_payload_len(attribute) != 8) return std::chrono::milliseconds{0};
  return std::chrono::milliseconds{static_cast<std::int64_t>(to_be64(mnl_attr_get_u64(attribute)))};
}

int keep_comment(const nftnl_udata* attribute, void* data) {
  constexpr std::uint8_t kComment = 0;  // NFTNL_UDATA_TABLE_COMMENT
  if (nftnl_udata_type(attribute) != kComment || nftnl_udata_len(attribute) == 0) return 0;
  const auto* text = static_cast<const char*>(nftnl_udata_get(attribute));
  static_cast<std::string*>(data)->assign(text, nftnl_udata_len(attribute) - 1u);
  return 0;
}

}  // namespace

std::vector<std::byte> table_request(const std::string& table, std::uint32_t sequence) {
  return request(
      NFT_MSG_GETTABLE, 0, sequence,
      [](nlmsghdr* header, const std::string& name) {
        mnl_attr_put_strz(header, NFTA_TABLE_NAME, name.c_str());
      },
      table);
}

std::optional<TableInfo> parse_table(Bytes message) {
  const nlmsghdr* header = header_of(message);
  if (header == nullptr || header->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE))
    return std::nullopt;
  const Table table{nftnl_table_alloc()};
  if (!table || nftnl_table_nlmsg_parse(header, table.get()) < 0) return std::nullopt;
  TableInfo info;
  info.flags = nftnl_table_get_u32(table.get(), NFTNL_TABLE_FLAGS);
  std::uint32_t size = 0;
  if (const void* data = nftnl_table_get_data(table.get(), NFTNL_TABLE_USERDATA, &size); data != nullptr)
    nftnl_udata_parse(data, size, &keep_comment, &info.comment);
  return info;
}

std::vector<std::byte> counters_request(const std::string& table, std::uint32_t sequence) {
  return request(
      NFT_MSG_GETOBJ, NLM_F_DUMP, sequence,
      [](nlmsghdr* header, const std::string& name) {
        mnl_attr_put_strz(header, NFTA_OBJ_TABLE, name.c_str());
        mnl_attr_put_u32(header, NFTA_OBJ_TYPE, to_be32(NFT_OBJECT_COUNTER));
      },
      table);
}

std::optional<CounterInfo> parse_counter(Bytes message, const std::string& table) {
  const nlmsghdr* header = header_of(message);
  if (header == nullptr || header->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWOBJ))
    return std::nullopt;
  const Object object{nftnl_obj_alloc()};
  if (!object || nftnl_obj_nlmsg_parse(header, object.get()) < 0) return std::nullopt;
  if (nftnl_obj_get_u32(object.get(), NFTNL_OBJ_TYPE) != NFT_OBJECT_COUNTER ||
      table != nftnl_obj_get_str(object.get(), NFTNL_OBJ_TABLE))
    return std::nullopt;
  return CounterInfo{nftnl_obj_get_str(object.get(), NFTNL_OBJ_NAME),
                     nftnl_obj_get_u64(object.get(), NFTNL_OBJ_CTR_PKTS)};
}

std::vector<std::byte> dump_request(const std::string& table, std::string_view set, std::uint32_t sequence) {
  std::vector<std::byte> bytes(1024);
  nlmsghdr* header = nftnl_nlmsg_build_hdr(reinterpret_cast<char*>(bytes.data()), NFT_MSG_GETSETELEM,
                                           NFPROTO_INET, NLM_F_DUMP, sequence);
  mnl_attr_put_strz(header, NFTA_SET_ELEM_LIST_TABLE, table.c_str());
  mnl_attr_put_strz(header, NFTA_SET_ELEM_LIST_SET, std::string{set}.c_str());
  bytes.resize(header->nlmsg_len);
  return bytes;
}

std::vector<Dumped> parse_elements(SetId set, Bytes message) {
  std::vector<Dumped> found;
  each_of_message(message, [&](const nlattr* attribute) {
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

std::vector<Dumped> parse_dump(SetId set, Bytes message) {
  const nlmsghdr* header = header_of(message);
  if (header == nullptr || header->nlmsg_type != nft_type(NFT_MSG_NEWSETELEM)) return {};
  return parse_elements(set, message);
}

std::optional<TableEvent> parse_event(Bytes message) {
  const nlmsghdr* header = header_of(message);
  if (header == nullptr || header->nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES ||
      message.size() < sizeof(nlmsghdr) + sizeof(nfgenmsg))
    return std::nullopt;
  TableEvent event;
  event.type = header->nlmsg_type & 0xff;
  const bool of_inet = std::to_integer<int>(message[sizeof(nlmsghdr)]) == NFPROTO_INET;
  const bool of_elements = event.type == NFT_MSG_NEWSETELEM || event.type == NFT_MSG_DELSETELEM;
  each_of_message(message, [&](const nlattr* attribute) {
    const auto type = mnl_attr_get_type(attribute);
    if (event.type == NFT_MSG_NEWGEN) {
      if (type == NFTA_GEN_PROC_NAME) event.program = string_of(attribute);
    } else if (type == NFTA_TABLE_NAME && of_inet) {
      event.table = string_of(attribute);
    } else if (type == NFTA_SET_ELEM_LIST_SET && of_elements) {
      event.set = string_of(attribute);
    } else if (type == NFTA_RULE_CHAIN && event.type == NFT_MSG_NEWRULE) {
      event.chain = string_of(attribute);
    }
  });
  if (const auto set = set_by_name(event.set); set && event.type == NFT_MSG_DELSETELEM)
    for (const auto& one : parse_elements(*set, message)) event.elements.push_back(one.element);
  return event;
}

}  // namespace icqgate::nft
