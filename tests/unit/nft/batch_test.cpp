// SPDX-License-Identifier: GPL-2.0-or-later
// The batch is taken apart again as the kernel would, with libmnl.
#include "nft/batch.hpp"

#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <map>

#include "nft/inspect.hpp"
#include "vectors.hpp"

using namespace icqgate;
using namespace icqgate::nft;
using icqgate::test::from_hex;
using Kind = Change::Kind;
using std::chrono::milliseconds;

namespace {

constexpr Ipv4 kClient = make_ipv4(192, 168, 1, 20);
constexpr Port kPort{24567};

using Attributes = std::map<int, std::vector<std::byte>>;

Attributes attributes(Bytes bytes) {
  Attributes all;
  std::size_t at = 0;
  while (at + sizeof(nlattr) <= bytes.size()) {
    nlattr head{};
    std::memcpy(&head, bytes.data() + at, sizeof head);
    REQUIRE(head.nla_len >= sizeof head);
    REQUIRE(at + head.nla_len <= bytes.size());
    const Bytes value = bytes.subspan(at + sizeof head, head.nla_len - sizeof head);
    all[head.nla_type & NLA_TYPE_MASK].assign(value.begin(), value.end());
    at += MNL_ALIGN(head.nla_len);
  }
  CHECK(at == bytes.size());
  return all;
}
std::string text_of(const std::vector<std::byte>& value) {
  return {reinterpret_cast<const char*>(value.data()), value.empty() ? 0 : value.size() - 1};
}

struct Message {
  std::uint16_t type = 0;
  std::uint16_t flags = 0;
  std::uint32_t sequence = 0;
  std::uint8_t family = 0;
  std::uint16_t resource = 0;
  Attributes attributes;
  // of an element message
  [[nodiscard]] Attributes element() const {
    const auto list = test_nested(attributes.at(NFTA_SET_ELEM_LIST_ELEMENTS));
    return test_nested(list.at(NFTA_LIST_ELEM));
  }
  [[nodiscard]] std::vector<std::byte> key() const {
    return test_nested(element().at(NFTA_SET_ELEM_KEY)).at(NFTA_DATA_VALUE);
  }
  // of all its elements, in their order
  [[nodiscard]] std::vector<std::vector<std::byte>> keys() const {
    std::vector<std::vector<std::byte>> all;
    const auto& list = attributes.at(NFTA_SET_ELEM_LIST_ELEMENTS);
    for (std::size_t at = 0; at + sizeof(nlattr) <= list.size();) {
      nlattr head{};
      std::memcpy(&head, list.data() + at, sizeof head);
      REQUIRE((head.nla_len >= sizeof head && head.nla_len <= list.size() - at));
      const auto entry = ::attributes(Bytes{list}.subspan(at + sizeof head, head.nla_len - sizeof head));
      all.push_back(test_nested(entry.at(NFTA_SET_ELEM_KEY)).at(NFTA_DATA_VALUE));
      at += (head.nla_len + 3u) / 4 * 4;
    }
    return all;
  }
  static Attributes test_nested(const std::vector<std::byte>& value) { return ::attributes(value); }
  [[nodiscard]] bool adds() const { return type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSETELEM); }
  [[nodiscard]] bool removes() const { return type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELSETELEM); }
};

std::vector<Message> messages(const std::vector<std::byte>& bytes) {
  std::vector<Message> all;
  std::size_t at = 0;
  while (at < bytes.size()) {
    REQUIRE(bytes.size() - at >= sizeof(nlmsghdr) + sizeof(nfgenmsg));
    nlmsghdr head{};
    std::memcpy(&head, bytes.data() + at, sizeof head);
    REQUIRE(head.nlmsg_len <= bytes.size() - at);
    REQUIRE(head.nlmsg_len % 4 == 0);
    nfgenmsg extra{};
    std::memcpy(&extra, bytes.data() + at + sizeof head, sizeof extra);
    constexpr std::size_t kHeads = sizeof(nlmsghdr) + sizeof(nfgenmsg);
    all.push_back({head.nlmsg_type, head.nlmsg_flags, head.nlmsg_seq, extra.nfgen_family,
                   static_cast<std::uint16_t>(extra.res_id >> 8 | extra.res_id << 8),
                   attributes(Bytes{bytes}.subspan(at + kHeads, head.nlmsg_len - kHeads))});
    at += head.nlmsg_len;
  }
  return all;
}

// Between begin and end, which are checked here.
std::vector<Message> inner(Batch& batch) {
  auto all = messages(batch.finish());
  REQUIRE(all.size() >= 2);
  CHECK(all.front().type == NFNL_MSG_BATCH_BEGIN);
  CHECK(all.front().resource == NFNL_SUBSYS_NFTABLES);
  CHECK(all.back().type == NFNL_MSG_BATCH_END);
  CHECK(all.back().resource == NFNL_SUBSYS_NFTABLES);
  all.erase(all.begin());
  all.pop_back();
  // One acknowledgment tells the end: errors come by themselves, and before it.
  std::uint32_t sequence = 0;
  for (const Message& one : all) {
    CHECK(one.family == NFPROTO_INET);
    CHECK((one.flags & NLM_F_REQUEST) != 0);
    CHECK(((one.flags & NLM_F_ACK) != 0) == (&one == &all.back()));
    CHECK(one.sequence == ++sequence);
  }
  return all;
}

}  // namespace

TEST_CASE("Add, Renew and Remove as the kernel reads them", "[nft][batch]") {
  const Element element = Element::pinhole(kClient, kPort);
  Batch batch{"icqgate"};
  CHECK(batch.empty());
  SECTION("Add: one message") {
    batch.change({Kind::Add, element, milliseconds{120'000}});
    CHECK(batch.messages() == 1);
    const auto all = inner(batch);
    REQUIRE(all.size() == 1);
    CHECK(all[0].adds());
    CHECK((all[0].flags & NLM_F_CREATE) != 0);
    CHECK((all[0].flags & NLM_F_EXCL) == 0);  // there already is no error
    CHECK(text_of(all[0].attributes.at(NFTA_SET_ELEM_LIST_TABLE)) == "icqgate");
    CHECK(text_of(all[0].attributes.at(NFTA_SET_ELEM_LIST_SET)) == "pinholes");
    CHECK(all[0].key() == from_hex("c0a801145ff70000"));
    CHECK(all[0].element().at(NFTA_SET_ELEM_TIMEOUT) == from_hex("000000000001d4c0"));
    CHECK_FALSE(all[0].element().contains(NFTA_SET_ELEM_DATA));
  }
  SECTION("Add without a timeout") {
    batch.change({Kind::Add, element, milliseconds{0}});
    CHECK_FALSE(inner(batch).at(0).element().contains(NFTA_SET_ELEM_TIMEOUT));
  }
  SECTION("Renew: in any case there, then gone, then there with the new timeout") {
    batch.change({Kind::Renew, element, milliseconds{5000}});
    const auto all = inner(batch);
    REQUIRE(all.size() == 3);
    CHECK(all[0].adds());
    CHECK(all[1].removes());
    CHECK(all[2].adds());
    CHECK(all[2].element().at(NFTA_SET_ELEM_TIMEOUT) == from_hex("0000000000001388"));
    for (const Message& one : all) CHECK(one.key() == from_hex("c0a801145ff70000"));
  }
  SECTION("Renew in place: one message, and the time begins anew even if the timeout is the same") {
    Batch in_place{"icqgate", UpdateForm::InPlace};
    in_place.change({Kind::Renew, element, milliseconds{5000}});
    const auto all = inner(in_place);
    REQUIRE(all.size() == 1);
    CHECK(all[0].adds());
    CHECK(all[0].element().at(NFTA_SET_ELEM_TIMEOUT) == from_hex("0000000000001388"));
    CHECK(all[0].element().at(NFTA_SET_ELEM_EXPIRATION) == from_hex("0000000000001388"));
  }
  SECTION("a set without timeouts takes none, not even for a moment") {
    const auto kind = GENERATE(Kind::Add, Kind::Renew, Kind::Remove);
    batch.change({kind, Element::dns_server(kClient), milliseconds{0}});
    for (const Message& one : inner(batch)) CHECK_FALSE(one.element().contains(NFTA_SET_ELEM_TIMEOUT));
  }
  SECTION("Remove: in any case there, then gone; never for ever in between") {
    batch.change({Kind::Remove, element, {}});
    const auto all = inner(batch);
    REQUIRE(all.size() == 2);
    CHECK(all[0].adds());
    CHECK(all[0].element().contains(NFTA_SET_ELEM_TIMEOUT));
    CHECK(all[1].removes());
    CHECK_FALSE(all[1].element().contains(NFTA_SET_ELEM_TIMEOUT));
  }
  SECTION("a map's element carries its data") {
    batch.change({Kind::Add, Element::forward(kPort, kClient, kPort), milliseconds{1000}});
    const auto all = inner(batch);
    CHECK(all.at(0).key() == from_hex("5ff7"));
    CHECK(Message::test_nested(all[0].element().at(NFTA_SET_ELEM_DATA)).at(NFTA_DATA_VALUE) ==
          from_hex("c0a801145ff70000"));
  }
}

TEST_CASE("the largest element in a table with the longest name", "[nft][batch]") {
  const std::string name(255, 't');
  Batch batch{name};
  const Element large =
      Element::server(*parse_address("2001:db8::20"), {*parse_address("2001:db8::5"), Port{5190}});
  for (int i = 0; i < 100; ++i) batch.change({Kind::Renew, large, milliseconds{1}});
  const auto all = inner(batch);
  REQUIRE(all.size() ==
          201);  // add, delete, then twice 99 add (which the next one's add joins) and delete, add
  CHECK(text_of(all[200].attributes.at(NFTA_SET_ELEM_LIST_TABLE)) == name);
  CHECK(all[200].key() == std::vector<std::byte>(large.key().begin(), large.key().end()));
}

TEST_CASE("elements for one set that say the same share messages", "[nft][batch]") {
  const auto server = [](std::uint32_t i) { return Element::login({Ipv4{0xc6120000 + i}, Port{5190}}); };
  SECTION("in order, and only as far as a list's size goes") {
    const auto form = GENERATE(UpdateForm::InPlace, UpdateForm::Replace);
    Batch batch{"icqgate", form};
    for (std::uint32_t i = 0; i < 3000; ++i) batch.change({Kind::Add, server(i), milliseconds{1000}});
    const auto all = inner(batch);
    CHECK(all.size() > 1);
    CHECK(all.size() < 10);
    std::uint32_t next = 0;
    for (const Message& one : all) {
      for (const auto& key : one.keys()) {
        const Element expected = server(next++);
        REQUIRE(key == std::vector<std::byte>(expected.key().begin(), expected.key().end()));
      }
    }
    CHECK(next == 3000);
  }
  SECTION("another set, another verb or anything between begins a new one") {
    Batch batch{"icqgate", UpdateForm::InPlace};
    batch.change({Kind::Renew, server(1), milliseconds{1000}});
    batch.change({Kind::Renew, server(2), milliseconds{1000}});
    batch.change({Kind::Renew, Element::session(kClient), milliseconds{1000}});
    batch.change({Kind::Renew, server(3), milliseconds{1000}});
    batch.change({Kind::Remove, server(3), {}});
    batch.change({Kind::Remove, server(4), {}});
    batch.append_queue_rule("peer_queue", 5191, false, QueueForm::Native);
    batch.change({Kind::Remove, server(5), {}});
    const auto all = inner(batch);
    REQUIRE(all.size() == 6);
    CHECK(all[0].keys().size() == 2);
    CHECK(all[3].keys().size() == 2);
    CHECK(all[3].type == (NFNL_SUBSYS_NFTABLES << 8 | 30));  // NFT_MSG_DESTROYSETELEM
    CHECK(all[5].keys().size() == 1);
  }
}

TEST_CASE("a batch can be used again", "[nft][batch]") {
  Batch batch{"icqgate"};
  batch.change({Kind::Add, Element::session(kClient), milliseconds{1}});
  const auto first = batch.finish();
  CHECK(batch.empty());
  batch.change({Kind::Add, Element::session(kClient), milliseconds{1}});
  CHECK(batch.finish() == first);
}

TEST_CASE("queue rules in both forms", "[nft][batch]") {
  const auto form = GENERATE(QueueForm::Native, QueueForm::XtTarget);
  const bool bypass = GENERATE(true, false);
  Batch batch{"icqgate"};
  batch.append_queue_rule("peer_queue", 5191, bypass, form);
  const auto all = inner(batch);
  REQUIRE(all.size() == 1);
  CHECK(all[0].type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE));
  CHECK((all[0].flags & NLM_F_APPEND) == 0);  // to the head of the chain
  CHECK(text_of(all[0].attributes.at(NFTA_RULE_CHAIN)) == "peer_queue");
  const auto expression = Message::test_nested(
      Message::test_nested(all[0].attributes.at(NFTA_RULE_EXPRESSIONS)).at(NFTA_LIST_ELEM));
  const auto data = Message::test_nested(expression.at(NFTA_EXPR_DATA));
  if (form == QueueForm::Native) {
    CHECK(text_of(expression.at(NFTA_EXPR_NAME)) == "queue");
    CHECK(data.at(NFTA_QUEUE_NUM) == from_hex("1447"));
    CHECK(data.at(NFTA_QUEUE_TOTAL) == from_hex("0001"));
    CHECK(data.at(NFTA_QUEUE_FLAGS) == from_hex(bypass ? "0001" : "0000"));
  } else {
    CHECK(text_of(expression.at(NFTA_EXPR_NAME)) == "target");
    CHECK(text_of(data.at(NFTA_TARGET_NAME)) == "NFQUEUE");
    CHECK(data.at(NFTA_TARGET_REV) == from_hex("00000003"));
    const auto& info = data.at(NFTA_TARGET_INFO);
    REQUIRE(info.size() % 8 == 0);
    std::uint16_t fields[3]{};
    std::memcpy(fields, info.data(), sizeof fields);  // host order
    CHECK(fields[0] == 5191);
    CHECK(fields[1] == 1);
    CHECK(fields[2] == (bypass ? 1 : 0));
  }
}

TEST_CASE("making and deleting the table", "[nft][batch]") {
  Batch batch{"mine"};
  batch.new_table(NFT_TABLE_F_OWNER | kPersist, "icqgate");
  batch.delete_table();
  const auto all = inner(batch);
  REQUIRE(all.size() == 2);
  CHECK(all[0].type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE));
  CHECK((all[0].flags & NLM_F_CREATE) != 0);
  CHECK((all[0].flags & NLM_F_EXCL) == 0);
  CHECK(all[0].attributes.at(NFTA_TABLE_FLAGS) == from_hex("00000006"));
  CHECK(all[0].attributes.at(NFTA_TABLE_USERDATA) == from_hex("00086963716761746500"));
  CHECK(all[1].type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE));
  for (const Message& one : all) CHECK(text_of(one.attributes.at(NFTA_TABLE_NAME)) == "mine");
}

TEST_CASE("a dump request names table and set", "[nft][batch]") {
  const auto all = messages(dump_request("icqgate", "returns", 77));
  REQUIRE(all.size() == 1);
  CHECK(all[0].type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETSETELEM));
  CHECK((all[0].flags & NLM_F_DUMP) == NLM_F_DUMP);
  CHECK(all[0].sequence == 77);
  CHECK(text_of(all[0].attributes.at(NFTA_SET_ELEM_LIST_SET)) == "returns");
}

TEST_CASE("a dump's elements are read, whatever else stands there", "[nft][dump]") {
  // What the kernel sends looks as what it takes, but for the flags: the batch's own message is a dump.
  Batch batch{"icqgate"};
  batch.change({Kind::Add, Element::pinhole(kClient, kPort), milliseconds{120'000}});
  auto bytes = batch.finish();
  const std::size_t begin = sizeof(nlmsghdr) + sizeof(nfgenmsg);
  nlmsghdr head{};
  std::memcpy(&head, bytes.data() + begin, sizeof head);
  const std::vector<std::byte> message(bytes.begin() + begin, bytes.begin() + begin + head.nlmsg_len);

  const auto found = parse_dump(SetId::Pinholes, message);
  REQUIRE(found.size() == 1);
  CHECK(found[0].element == Element::pinhole(kClient, kPort));
  CHECK(found[0].timeout == milliseconds{120'000});
  CHECK(found[0].expires == milliseconds{0});
  CHECK(parse_dump(SetId::Sessions, message).empty());  // another key's size
  CHECK(parse_dump(SetId::Forwards, message).empty());
  CHECK(parse_dump(SetId::Pinholes, {}).empty());
  // Cut or damaged anywhere: never read outside, never an element of another kind.
  for (std::size_t size = 0; size < message.size(); ++size) {
    const std::vector<std::byte> cut(message.begin(), message.begin() + static_cast<std::ptrdiff_t>(size));
    CHECK(parse_dump(SetId::Pinholes, cut).empty());
    auto shorter = cut;
    if (size >= sizeof(nlmsghdr)) {
      const auto length = static_cast<std::uint32_t>(size);
      std::memcpy(shorter.data(), &length, sizeof length);
      (void)parse_dump(SetId::Pinholes, shorter);
    }
  }
  for (std::size_t at = 0; at < message.size(); ++at)
    for (const int value : {0, 1, 0x7f, 0xff}) {
      auto damaged = message;
      damaged[at] = static_cast<std::byte>(value);
      for (const auto& one : parse_dump(SetId::Pinholes, damaged)) CHECK(one.element.key().size() == 8);
    }
}
