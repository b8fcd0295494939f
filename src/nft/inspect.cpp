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

// nf_tables attributes are big endian.
constexpr std::uint32_t kCounterType =
    std::endian::native == std::endian::big ? NFT_OBJECT_COUNTER : __builtin_bswap32(NFT_OBJECT_COUNTER);

const nlmsghdr* header_of(Bytes message) {
  const auto* header = reinterpret_cast<const nlmsghdr*>(message.data());
  return message.size() >= sizeof(nlmsghdr) && header->nlmsg_len <= message.size() ? header : nullptr;
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
  info.dormant = (nftnl_table_get_u32(table.get(), NFTNL_TABLE_FLAGS) & NFT_TABLE_F_DORMANT) != 0;
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
        mnl_attr_put_u32(header, NFTA_OBJ_TYPE, kCounterType);
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

}  // namespace icqgate::nft
