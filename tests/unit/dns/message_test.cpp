// SPDX-License-Identifier: GPL-2.0-or-later
#include "dns/message.hpp"

#include <catch2/catch.hpp>

#include "dns/message_builder.hpp"

using namespace icqgate;
using namespace icqgate::dns;
using namespace std::chrono_literals;
using test::MessageBuilder;

namespace {

constexpr Ipv4 kFirst = make_ipv4(192, 0, 2, 1);
constexpr Ipv4 kSecond = make_ipv4(192, 0, 2, 2);

std::string label(std::size_t size, char c = 'a') { return std::string(size, c); }

}  // namespace

TEST_CASE("names are lower-cased and lose their last dot", "[dns][name]") {
  CHECK(parse_name("login.icq.com") == "login.icq.com");
  CHECK(parse_name("Login.ICQ.com.") == "login.icq.com");
  CHECK(parse_name("localhost") == "localhost");
  CHECK(parse_name("_oscar._tcp.x-1") == "_oscar._tcp.x-1");
  CHECK(parse_name("10.0.0.1") ==
        "10.0.0.1");  // a name by its letters; who takes addresses too has to ask first
}

TEST_CASE("what is no host name is refused", "[dns][name]") {
  for (const auto* text :
       {"", ".", "..", ".a", "a..b", "a..", "a b", "a,b", "a/b", "a:b", "a*", "\xc3\xa4.test", "a\n"})
    CHECK_FALSE(parse_name(text));
  CHECK_FALSE(parse_name(std::string_view{"a\0b", 3}));
}

TEST_CASE("labels of 63 and names of 253 characters are the longest", "[dns][name]") {
  CHECK(parse_name(label(63)));
  CHECK_FALSE(parse_name(label(64)));
  const auto most = label(63) + "." + label(63) + "." + label(63) + "." + label(61);
  REQUIRE(most.size() == 253);
  CHECK(parse_name(most));
  CHECK(parse_name(most + "."));
  CHECK_FALSE(parse_name(most + "a"));
}

TEST_CASE("an answer's addresses come with their TTLs, in its order", "[dns][message]") {
  const auto wire = MessageBuilder{0xbeef}
                        .question("login.icq.com")
                        .a("@12", 300, kSecond.get())
                        .a("login.icq.com", 200, kFirst.get())
                        .build();
  const auto answer = parse_answer(wire);
  REQUIRE(answer);
  CHECK(answer->id == 0xbeef);
  CHECK(answer->question == "login.icq.com");
  CHECK(answer->type == Type::A);
  CHECK(answer->rcode == 0);
  CHECK_FALSE(answer->truncated);
  CHECK(answer->addresses == std::vector<AddressRecord>{{kSecond, 300s}, {kFirst, 200s}});
  CHECK(answer->negative_ttl == 0s);
}

TEST_CASE("AAAA answers hold IPv6 addresses only, A answers IPv4 only", "[dns][message]") {
  auto builder = MessageBuilder{}.question("a.test", 28).a("@12", 300, 1).aaaa("@12", 60, 7);
  const auto six = parse_answer(builder.build());
  REQUIRE(six);
  REQUIRE(six->addresses.size() == 1);
  REQUIRE(six->addresses[0].address.v6());
  CHECK(six->addresses[0].address.v6()->get()[0] == 0x20);
  CHECK(six->addresses[0].address.v6()->get()[15] == 7);
  const auto four =
      parse_answer(MessageBuilder{}.question("a.test").aaaa("@12", 60, 7).a("@12", 300, 1).build());
  REQUIRE(four);
  CHECK(four->addresses == std::vector<AddressRecord>{{Ipv4{1}, 300s}});
}

TEST_CASE("a message cut anywhere is truncated", "[dns][message]") {
  const auto wire = MessageBuilder{}
                        .question("login.icq.com")
                        .cname("@12", 60, "x.test")
                        .a("x.test", 60, kFirst.get())
                        .soa("test", 60, 60)
                        .build();
  const Bytes message{wire};
  REQUIRE(parse_answer(message));
  for (std::size_t cut = 0; cut < message.size(); ++cut) {
    CAPTURE(cut);
    const auto answer = parse_answer(message.first(cut));
    REQUIRE_FALSE(answer);
    CHECK(answer.error() == MessageError::Truncated);
  }
}

TEST_CASE("counts beyond what is there are truncation", "[dns][message]") {
  auto builder = MessageBuilder{}.question("a.test").a("@12", 60, 1);
  CHECK(parse_answer(builder.count(1, 65535).build()).error() == MessageError::Truncated);
  CHECK(parse_answer(builder.count(1, 1).count(2, 1).build()).error() == MessageError::Truncated);
  CHECK(parse_answer(builder.count(2, 0).count(3, 9).build()));  // the additional section is not read
}

TEST_CASE("queries and other operations are no responses", "[dns][message]") {
  CHECK(parse_answer(MessageBuilder{}.flags(0x0100).question("a.test").build()).error() ==
        MessageError::NotResponse);
  CHECK(parse_answer(MessageBuilder{}.flags(0xa800).question("a.test").build()).error() ==
        MessageError::NotResponse);
}

TEST_CASE("anything but one A or AAAA question of class IN is another question", "[dns][message]") {
  const auto error_of = [](const MessageBuilder& builder) { return parse_answer(builder.build()).error(); };
  CHECK(error_of(MessageBuilder{}) == MessageError::OtherQuestion);
  CHECK(error_of(MessageBuilder{}.question("a.test").question("b.test")) == MessageError::OtherQuestion);
  CHECK(error_of(MessageBuilder{}.question("a.test", 15)) == MessageError::OtherQuestion);
  CHECK(error_of(MessageBuilder{}.question("a.test", 255)) == MessageError::OtherQuestion);
  CHECK(error_of(MessageBuilder{}.question("a.test", 1, 3)) == MessageError::OtherQuestion);
  CHECK(error_of(MessageBuilder{}.question("")) == MessageError::OtherQuestion);
  CHECK(error_of(MessageBuilder{}.question("a b.test")) == MessageError::OtherQuestion);
}

TEST_CASE("owner names are compared without case", "[dns][message]") {
  const auto answer = parse_answer(MessageBuilder{}
                                       .question("LOGIN.icq.COM")
                                       .cname("login.ICQ.com", 60, "Pool.Test")
                                       .a("pOOL.tEST", 50, kFirst.get())
                                       .build());
  REQUIRE(answer);
  CHECK(answer->question == "login.icq.com");
  CHECK(answer->addresses == std::vector<AddressRecord>{{kFirst, 50s}});
}

TEST_CASE("records off the chain are ignored, whatever bytes their names have", "[dns][message]") {
  const auto answer = parse_answer(MessageBuilder{}
                                       .question("a.test")
                                       .a("b.test", 60, 1)
                                       .a("\x01\xff .test", 60, 2)
                                       .cname("c.test", 60, "\xfe\xfd")
                                       .a("\xfe\xfd", 60, 3)
                                       .a("", 60, 4)
                                       .a("@12", 60, 5)
                                       .build());
  REQUIRE(answer);
  CHECK(answer->addresses == std::vector<AddressRecord>{{Ipv4{5}, 60s}});
}

TEST_CASE("a dot inside a label does not make it two labels", "[dns][message]") {
  auto builder = MessageBuilder{}.question("a.b");
  builder.raw_answer({3, 'a', '.', 'b', 0, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 1, 2, 3, 4});
  const auto answer = parse_answer(builder.build());
  REQUIRE(answer);
  CHECK(answer->addresses.empty());
}

TEST_CASE("an address has the least TTL along its chain, in any order of records", "[dns][message]") {
  const auto answer = parse_answer(MessageBuilder{}
                                       .question("a.test")
                                       .a("c.test", 300, 7)
                                       .cname("b.test", 20, "c.test")
                                       .a("c.test", 10, 8)
                                       .cname("a.test", 100, "b.test")
                                       .build());
  REQUIRE(answer);
  CHECK(answer->addresses == std::vector<AddressRecord>{{Ipv4{7}, 20s}, {Ipv4{8}, 10s}});
}

TEST_CASE("chains of 16 links are followed, longer ones and circles lead nowhere", "[dns][message]") {
  const auto chain = [](int links) {
    auto builder = MessageBuilder{}.question("n0.test");
    for (int i = 0; i < links; ++i)
      builder.cname("n" + std::to_string(i) + ".test", 60, "n" + std::to_string(i + 1) + ".test");
    builder.a("n" + std::to_string(links) + ".test", 60, 1);
    const auto answer = parse_answer(builder.build());
    REQUIRE(answer);
    return answer->addresses.size();
  };
  CHECK(chain(0) == 1);
  CHECK(chain(16) == 1);
  CHECK(chain(17) == 0);
  const auto circle = parse_answer(MessageBuilder{}
                                       .question("a.test")
                                       .cname("a.test", 60, "b.test")
                                       .cname("b.test", 60, "a.test")
                                       .a("a.test", 60, 1)
                                       .a("b.test", 60, 2)
                                       .build());
  REQUIRE(circle);
  CHECK(circle->addresses.empty());
  const auto self =
      parse_answer(MessageBuilder{}.question("a.test").cname("@12", 60, "@12").a("@12", 60, 1).build());
  REQUIRE(self);
  CHECK(self->addresses.empty());
}

TEST_CASE("a TTL with the top bit set is zero", "[dns][message]") {
  const auto answer = parse_answer(MessageBuilder{}
                                       .question("a.test")
                                       .a("@12", 0x7fffffff, 1)
                                       .a("@12", 0x80000000, 2)
                                       .a("@12", 0xffffffff, 3)
                                       .build());
  REQUIRE(answer);
  CHECK(answer->addresses == std::vector<AddressRecord>{
                                 {Ipv4{1}, std::chrono::seconds{0x7fffffff}}, {Ipv4{2}, 0s}, {Ipv4{3}, 0s}});
}

TEST_CASE("an address given twice counts once, with the lesser TTL", "[dns][message]") {
  const auto answer = parse_answer(
      MessageBuilder{}.question("a.test").a("@12", 60, 1).a("@12", 30, 1).a("@12", 90, 1).build());
  REQUIRE(answer);
  CHECK(answer->addresses == std::vector<AddressRecord>{{Ipv4{1}, 30s}});
}

TEST_CASE("records of odd size or class are ignored", "[dns][message]") {
  const auto bytes = [](std::size_t count) { return std::vector<std::byte>(count); };
  const auto four = parse_answer(MessageBuilder{}
                                     .question("a.test")
                                     .answer("@12", 1, 60, bytes(3))
                                     .answer("@12", 1, 60, bytes(5))
                                     .answer("@12", 1, 60, bytes(0))
                                     .answer("@12", 1, 60, bytes(4), 3)
                                     .build());
  REQUIRE(four);
  CHECK(four->addresses.empty());
  const auto six = parse_answer(MessageBuilder{}
                                    .question("a.test", 28)
                                    .answer("@12", 28, 60, bytes(15))
                                    .answer("@12", 28, 60, bytes(17))
                                    .answer("@12", 28, 60, bytes(16))
                                    .build());
  REQUIRE(six);
  CHECK(six->addresses.size() == 1);
}

TEST_CASE("compression pointers go backwards only", "[dns][message]") {
  auto builder = MessageBuilder{}.question("a.test");
  const auto here = std::to_string(builder.size());
  const auto ahead = std::to_string(builder.size() + 4);
  const auto behind_end = std::to_string(16000);
  for (const auto& target : {here, ahead, behind_end, std::string{"0"}, std::string{"11"}}) {
    CAPTURE(target);
    auto copy = builder;
    CHECK(parse_answer(copy.a("@" + target, 60, 1).build()).error() == MessageError::Malformed);
  }
  // A label, then a pointer to that label: a loop whose pointer does go backwards.
  auto loop = builder;
  const auto at = static_cast<std::uint8_t>(builder.size());
  loop.raw_answer({1, 'x', 0xc0, at, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 1, 2, 3, 4});
  CHECK(parse_answer(loop.build()).error() == MessageError::Malformed);
  // Label types 01 and 10 are not in use.
  for (const auto type : {std::uint8_t{0x40}, std::uint8_t{0x80}}) {
    auto odd = builder;
    odd.raw_answer({type, 'x', 0, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 1, 2, 3, 4});
    CHECK(parse_answer(odd.build()).error() == MessageError::Malformed);
  }
}

TEST_CASE("names end at 255 bytes and 128 jumps", "[dns][message]") {
  // The data of a record of no interest holds pointers, each to the one before, the first to the question.
  const auto with_jumps = [](std::size_t jumps) {
    auto builder = MessageBuilder{}.question("a.test");
    const std::size_t at = builder.size() + 2 + 10;
    ByteWriter pointers;
    for (std::size_t i = 0; i < jumps; ++i)
      pointers.u16be(static_cast<std::uint16_t>(0xc000 | (i == 0 ? 12 : at + 2 * (i - 1))));
    builder.answer("@12", 99, 60, pointers.view());
    return parse_answer(builder.a("@" + std::to_string(at + 2 * (jumps - 1)), 60, 1).build());
  };
  REQUIRE(with_jumps(127));  // the owner's own pointer is one more
  CHECK(with_jumps(127)->addresses.size() == 1);
  REQUIRE_FALSE(with_jumps(128));
  CHECK(with_jumps(128).error() == MessageError::Malformed);

  const auto most = label(63) + "." + label(63) + "." + label(63) + "." + label(61);
  CHECK(parse_answer(MessageBuilder{}.question(most).a("@12", 1, 1).build())->addresses.size() == 1);
  CHECK(parse_answer(MessageBuilder{}.question(most + "a").build()).error() == MessageError::Malformed);
}

TEST_CASE("an alias that does not fill its record is malformed", "[dns][message]") {
  ByteWriter data;
  MessageBuilder::write_name(data, "b.test");
  data.u8(0);
  CHECK(parse_answer(MessageBuilder{}.question("a.test").answer("@12", 5, 60, data.view()).build()).error() ==
        MessageError::Malformed);
  const Bytes cut = data.view().first(3);
  CHECK_FALSE(
      parse_answer(MessageBuilder{}.question("a.test").answer("@12", 5, 60, cut).a("b", 1, 1).build()));
}

TEST_CASE("the negative TTL is the lesser of the SOA's two", "[dns][message]") {
  const auto negative = [](std::uint16_t rcode, std::uint32_t ttl, std::uint32_t minimum,
                           std::string_view zone) {
    const auto answer =
        parse_answer(MessageBuilder{}.rcode(rcode).question("a.b.test").soa(zone, ttl, minimum).build());
    REQUIRE(answer);
    CHECK(answer->addresses.empty());
    CHECK(answer->rcode == rcode);
    return answer->negative_ttl;
  };
  CHECK(negative(3, 900, 60, "test") == 60s);
  CHECK(negative(3, 60, 900, "b.TEST") == 60s);
  CHECK(negative(0, 60, 900, "") == 60s);
  CHECK(negative(0, 60, 900, "a.b.test") == 60s);
  CHECK(negative(0, 60, 0x80000000, "test") == 0s);
  CHECK(negative(0, 60, 900, "other") == 0s);     // not a zone the name is in
  CHECK(negative(0, 60, 900, "x.b.test") == 0s);  // nor this one
  CHECK(negative(2, 60, 900, "test") == 0s);      // SERVFAIL says nothing about the name
  CHECK(parse_answer(MessageBuilder{}.question("a.test").build())->negative_ttl == 0s);
}

TEST_CASE("an alias without an address takes the negative TTL of its target's zone", "[dns][message]") {
  const auto answer = parse_answer(
      MessageBuilder{}.question("a.test").cname("@12", 60, "b.example").soa("example", 70, 80).build());
  REQUIRE(answer);
  CHECK(answer->negative_ttl == 70s);
}

TEST_CASE("a SOA of the wrong size is malformed", "[dns][message]") {
  ByteWriter data;
  data.u8(0).u8(0).u32be(1).u32be(2).u32be(3).u32be(4);
  CHECK(parse_answer(MessageBuilder{}.question("a.test").authority("test", 6, 60, data.view()).build())
            .error() == MessageError::Malformed);
}

TEST_CASE("of a response with TC only the question counts", "[dns][message]") {
  auto builder = MessageBuilder{}.flags(0x8380).question("a.test").a("@12", 60, 1).count(1, 30);
  const auto answer = parse_answer(builder.build());
  REQUIRE(answer);
  CHECK(answer->truncated);
  CHECK(answer->question == "a.test");
  CHECK(answer->addresses.empty());
}

TEST_CASE("addresses in an answer that reports an error are not used", "[dns][message]") {
  const auto answer = parse_answer(MessageBuilder{}.rcode(3).question("a.test").a("@12", 60, 1).build());
  REQUIRE(answer);
  CHECK(answer->rcode == 3);
  CHECK(answer->addresses.empty());
}

TEST_CASE("a message larger than DNS can carry is malformed", "[dns][message]") {
  auto wire = MessageBuilder{}.question("a.test").a("@12", 60, 1).build();
  wire.resize(65535);
  CHECK(parse_answer(wire));
  wire.resize(65536);
  CHECK(parse_answer(wire).error() == MessageError::Malformed);
}

TEST_CASE("thousands of records in one message are all heard", "[dns][message]") {
  auto builder = MessageBuilder{}.question("a.test");
  for (std::uint32_t i = 0; i < 4000; ++i) builder.a("@12", 60, i);
  const auto answer = parse_answer(builder.build());
  REQUIRE(answer);
  CHECK(answer->addresses.size() == 4000);
}
