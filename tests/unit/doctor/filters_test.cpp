// SPDX-License-Identifier: GPL-2.0-or-later
#include <catch2/catch.hpp>

#include "situation.hpp"

namespace icqgate::doctor {
namespace {

using Catch::Contains;
using Catch::StartsWith;

const std::string kEstablished =
    R"([{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":["established","related"]}},{"accept":null}])";
const std::string kDnat =
    R"([{"match":{"op":"in","left":{"ct":{"key":"status"}},"right":"dnat"}},{"accept":null}])";
const std::string kOutward =
    R"([{"match":{"op":"==","left":{"meta":{"key":"iifname"}},"right":"br-lan"}},{"match":{"op":"==","left":{"meta":{"key":"oifname"}},"right":"eth0"}},{"accept":null}])";

TEST_CASE("a host with nothing in the way has no findings", "[doctor]") {
  CHECK(kinds(Gateway{}.findings()).empty());
  CHECK(kinds(Gateway{{"--masquerade", "yes"}}.findings()).empty());
}

TEST_CASE("a forward chain that drops is found unless it accepts the mark first", "[doctor][drop]") {
  const auto found = Gateway{}.forward({}, "drop").findings();
  REQUIRE(kinds(found) == "drop");
  CHECK(found[0].certain);
  CHECK_THAT(found[0].what,
             StartsWith("table inet t, chain forward (hook forward, priority 0): policy drop"));
  CHECK(found[0].remedy ==
        "nft insert rule inet t forward 'meta mark & 0x06000000 != 0 accept comment \"icqgate\"'");
  CHECK_THAT(found[0].follows, Contains("login servers (TCP 5190)") && Contains("ports 20000-20099"));
  CHECK(Gateway{}.forward({kMarkLine}, "drop").findings().empty());
  CHECK(Gateway{}.forward({kMarkLine, R"([{"reject":null}])"}).of("drop").empty());
  CHECK(kinds(Gateway{}.forward({R"([{"drop":null}])", kMarkLine}).findings()) == "drop");
}

TEST_CASE("the mark is accepted in several forms, and not by every test of a mark", "[doctor][drop]") {
  const auto with = [](const std::string& op, const std::string& left, const std::string& right) {
    return Gateway{}
        .forward({R"([{"match":{"op":")" + op + R"(","left":)" + left + R"(,"right":)" + right +
                  R"(}},{"accept":null}])"},
                 "drop")
        .of("drop");
  };
  const std::string mark = R"({"meta":{"key":"mark"}})",
                    ours = R"({"&":[{"meta":{"key":"mark"}},100663296]})";
  CHECK(with("!=", ours, "0").empty());
  CHECK(with("==", ours, R"({"set":[33554432,100663296]})").empty());
  CHECK(with("!=", mark, "0").empty());  // any mark at all
  // The mark of a verdict has both bits: the lower one alone is not enough.
  const auto half = with("==", ours, "33554432");
  REQUIRE(half.size() == 1);
  CHECK_FALSE(half[0].certain);
  CHECK_THAT(half[0].follows, Contains("may end"));
  // another program's mark
  const auto other = with("==", R"({"&":[{"meta":{"key":"mark"}},65280]})", "256");
  REQUIRE(other.size() == 1);
  CHECK_FALSE(other[0].certain);  // nobody knows which packets have it
  CHECK(with("==", ours, "0").size() == 1);
  CHECK(with("==", ours, "0")[0].certain);
}

TEST_CASE("ct status dnat lets masqueraded pinholes pass, and nothing else", "[doctor][drop]") {
  CHECK(Gateway{{"--masquerade", "yes"}}.forward({kEstablished, kDnat, kOutward}, "drop").findings().empty());
  const auto found = Gateway{}.forward({kEstablished, kDnat, kOutward}, "drop").findings();
  REQUIRE(kinds(found) == "drop");
  CHECK_THAT(found[0].follows, Contains("connections of peers") && !Contains("login"));
}

TEST_CASE("a rule that drops a part is a may; one for others is none", "[doctor][drop]") {
  const auto dropping = [](const std::string& match) {
    return Gateway{}.forward({"[" + match + R"(,{"drop":null}])"}).of("drop");
  };
  const auto port = [](const std::string& right) {
    return R"({"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":)" + right +
           "}}";
  };
  REQUIRE(dropping(port(R"({"range":[20050,30000]})")).size() == 1);
  CHECK_FALSE(dropping(port(R"({"range":[20050,30000]})"))[0].certain);
  REQUIRE(dropping(port(R"({"range":[20000,30000]})")).size() == 1);
  CHECK(dropping(port(R"({"range":[20000,30000]})"))[0].certain);
  CHECK(dropping(port(R"({"set":[25,{"range":[6000,6063]}]})")).empty());
  CHECK(dropping(port("5190")).size() == 1);
  const auto source = [](const std::string& address, int length) {
    return R"({"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":{"prefix":{"addr":")" +
           address + R"(","len":)" + std::to_string(length) + "}}}}";
  };
  CHECK(dropping(source("10.0.0.0", 8)).empty());
  CHECK_FALSE(dropping(source("192.168.1.128", 25)).empty());
  CHECK_FALSE(dropping(source("192.168.1.128", 25))[0].certain);
  CHECK(dropping(R"({"match":{"op":"in","left":{"ct":{"key":"state"}},"right":"invalid"}})").empty());
  CHECK(dropping(R"({"match":{"op":"==","left":{"meta":{"key":"l4proto"}},"right":"udp"}})").empty());
  CHECK(dropping(R"({"match":{"op":"==","left":{"meta":{"key":"iifname"}},"right":"eth1"}})").empty());
  // a rate, a list that changes by itself, a reverse path: nobody can judge these from here
  CHECK(dropping(R"({"limit":{"rate":100,"per":"second","inv":true}})").empty());
  CHECK(
      dropping(
          R"({"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":"@blocked"}})")
          .empty());
  CHECK(dropping(
            R"({"match":{"op":"==","left":{"fib":{"result":"oif","flags":["saddr","iif"]}},"right":false}})")
            .empty());
}

TEST_CASE("verdicts are followed through jumps, gotos, returns and maps", "[doctor][drop]") {
  Gateway gateway;
  gateway.forward({R"([{"jump":{"target":"sub"}}])"}, "drop").chain("sub", "", "", 0, "", {kMarkLine});
  CHECK(gateway.findings().empty());
  Gateway returning;
  returning.forward({R"([{"jump":{"target":"sub"}}])"}, "drop")
      .chain("sub", "", "", 0, "", {R"([{"return":null}])", kMarkLine});
  CHECK(kinds(returning.findings()) == "drop");
  Gateway going;  // a goto does not come back: the mark line behind it is never reached
  going.forward({R"([{"goto":{"target":"sub"}}])", kMarkLine}, "drop").chain("sub", "", "", 0, "", {});
  CHECK(kinds(going.findings()) == "drop");
  Gateway circle;  // the kernel would not take it; nor must it hang here
  circle.forward({R"([{"jump":{"target":"forward"}}])"}, "drop");
  CHECK(kinds(circle.findings()) == "drop");
  Gateway map;
  map.forward(
      {R"([{"vmap":{"key":{"meta":{"key":"iifname"}},"data":{"set":[["br-lan",{"accept":null}],["eth0",{"jump":{"target":"in"}}]]}}}])"},
      "drop");
  map.chain("in", "", "", 0, "", {kMarkLine});
  CHECK(map.findings().empty());
}

TEST_CASE("a chain before ours sees no mark yet: the priority has to change", "[doctor][drop]") {
  const auto found = Gateway{}.forward({kMarkLine}, "drop", -100).of("drop");
  REQUIRE(found.size() == 1);
  CHECK_THAT(found[0].what, Contains("it runs before icqgate (priority -5)"));
  CHECK_THAT(found[0].remedy, Contains("'priority = -101'"));
  CHECK(Gateway{{"--priority", "-101"}}.forward({kMarkLine}, "drop", -100).of("drop").empty());
}

TEST_CASE("prerouting, ingress, input and output are looked at where they matter", "[doctor][drop]") {
  const std::string range =
      R"([{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":{"range":[20000,20099]}}},{"drop":null}])";
  const auto raw = Gateway{}.chain("early", "filter", "prerouting", -300, "accept", {range}).of("drop");
  REQUIRE(raw.size() == 1);
  CHECK(raw[0].remedy ==
        "nft insert rule inet t early 'iifname \"eth0\" tcp dport 20000-20099 accept comment \"icqgate\"'");
  CHECK(Gateway{}.chain("in", "filter", "input", 0, "accept", {range}).of("drop").empty());
  const auto input = Gateway{}.chain("in", "filter", "input", 0, "drop", {}).of("drop");
  REQUIRE(input.size() == 1);
  CHECK_THAT(input[0].follows, Contains("answers of DNS"));
  CHECK(Gateway{}.chain("in", "filter", "input", 0, "drop", {kEstablished}).of("drop").empty());
  CHECK(Gateway{}.chain("out", "filter", "output", 0, "drop", {}).of("drop").size() == 1);
  Gateway literal;  // asks nobody
  literal.config.login_hosts = {{make_ipv4(203, 0, 113, 5), {}, false}};
  CHECK(literal.chain("out", "filter", "output", 0, "drop", {}).of("drop").empty());
  CHECK(Gateway{}.chain("post", "filter", "postrouting", 0, "drop", {kMarkLine}).of("drop").empty());
  CHECK(Gateway{}.chain("post", "filter", "postrouting", 0, "drop", {}).of("drop").size() == 1);
}

TEST_CASE("the device of an ingress chain is read from the text", "[doctor][drop]") {
  const auto with = [](const std::string& devices) {
    Gateway gateway;
    auto read = read_ruleset(
        R"({"nftables":[{"table":{"family":"netdev","name":"edge"}},{"chain":{"family":"netdev","table":"edge","name":"in",)"
        R"("handle":1,"type":"filter","hook":"ingress","prio":0,"policy":"accept"}},{"rule":{"family":"netdev",)"
        R"("table":"edge","chain":"in","handle":2,"expr":[{"match":{"op":"==","left":{"payload":{"protocol":"tcp",)"
        R"("field":"dport"}},"right":20000}},{"drop":null}]}}]})",
        "table netdev edge { # handle 1\n\tchain in { # handle 1\n\t\ttype filter hook ingress " + devices +
            " priority filter; policy accept;\n\t\ttcp dport 20000 drop # handle 2\n\t}\n}\n",
        "icqgate");
    REQUIRE(read);
    gateway.ruleset = std::move(*read);
    return gateway.of("drop");
  };
  const auto found = with("device \"eth0\"");
  REQUIRE(found.size() == 1);
  CHECK(found[0].rule == "tcp dport 20000 drop");
  CHECK(found[0].remedy ==
        "nft insert rule netdev edge in 'tcp dport 20000-20099 accept comment \"icqgate\"'");
  CHECK(with("devices = { eth1, eth0 }").size() == 1);
  CHECK(with("device \"eth1\"").empty());
}

TEST_CASE("a reject of what goes out defeats outbound = auto", "[doctor][reject]") {
  const std::string reject = R"([{"reject":null}])";
  const auto found = Gateway{}.forward({kMarkLine, reject}).findings();
  REQUIRE(kinds(found) == "reject");
  CHECK_THAT(found[0].remedy, Contains("'outbound = check'"));
  CHECK(Gateway{{"--outbound", "check"}}.forward({kMarkLine, reject}).findings().empty());
  CHECK(Gateway{}.forward({kMarkLine, kOutward, reject}).findings().empty());
  CHECK(Gateway{}.forward({kMarkLine, R"([{"drop":null}])"}).findings().empty());  // its second SYN has the
                                                                                   // mark
}

TEST_CASE("a flowtable is found where ICQ's connections get into it", "[doctor][flowtable]") {
  const std::string flow =
      R"({"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"protocol"}},"right":"tcp"}},{"flow":{"op":"add","flowtable":"@f"}}])";
  const auto found = Gateway{}.forward({"[" + flow}).findings();
  REQUIRE(kinds(found) == "flowtable");
  CHECK(found[0].remedy == "nft replace rule inet t forward handle 1 'meta mark & 0x06000000 == 0 rule 1'");
  CHECK(
      Gateway{}
          .forward({R"([{"match":{"op":"==","left":{"&":[{"meta":{"key":"mark"}},100663296]},"right":0}},)" +
                    flow})
          .findings()
          .empty());
  CHECK(
      Gateway{}
          .forward(
              {R"([{"match":{"op":"==","left":{"meta":{"key":"l4proto"}},"right":"udp"}},{"flow":{"op":"add","flowtable":"@f"}}])"})
          .findings()
          .empty());
}

TEST_CASE("notrack on ICQ's connections is found", "[doctor][notrack]") {
  const auto found =
      Gateway{}.chain("raw", "filter", "prerouting", -300, "accept", {R"([{"notrack":null}])"}).findings();
  REQUIRE(kinds(found) == "notrack");
  CHECK_THAT(found[0].remedy,
             StartsWith("nft insert rule inet t raw 'iifname \"br-lan\" tcp dport 5190 accept"));
  CHECK(
      Gateway{}
          .chain(
              "raw", "filter", "prerouting", -300, "accept",
              {R"([{"match":{"op":"==","left":{"payload":{"protocol":"udp","field":"dport"}},"right":53}},{"notrack":null}])"})
          .findings()
          .empty());
}

}  // namespace
}  // namespace icqgate::doctor
