// SPDX-License-Identifier: GPL-2.0-or-later
#include <catch2/catch.hpp>

#include "situation.hpp"

namespace icqgate::doctor {
namespace {

using Catch::Contains;

Finding only(const Gateway& gateway) {
  const auto found = gateway.findings();
  INFO(kinds(found));
  REQUIRE(found.size() == 1);
  CHECK_FALSE(found[0].remedy.empty());
  CHECK_FALSE(found[0].follows.empty());
  return found[0];
}

TEST_CASE("an interface that does not exist", "[doctor][host]") {
  Gateway gateway;
  gateway.facts.missing_interfaces = {"br-lan"};
  gateway.facts.interfaces = {"lo", "lan0", "eth0"};
  const auto found = only(gateway);
  CHECK(found.kind == "interface");
  CHECK(found.what == "lan = br-lan: there is no such interface; there are lan0");
  CHECK_THAT(found.remedy, Contains("'lan = lan0'"));
  gateway.facts.interfaces = {"lo", "lan0", "lan1", "eth0"};
  CHECK_THAT(only(gateway).remedy, Contains("lan = NAME"));  // nobody's guess
  Gateway two{{"--lan", "br-guest"}};
  two.facts.missing_interfaces = {"br-guest"};
  two.facts.interfaces = {"lo", "br-lan", "br-kids", "eth0"};
  CHECK_THAT(only(two).remedy, Contains("'lan = br-lan, br-kids'"));
}

TEST_CASE("forwarding, conntrack, queues, the table", "[doctor][host]") {
  Gateway gateway;
  gateway.facts.ip_forward = false;
  CHECK(only(gateway).remedy == "sysctl -w net.ipv4.ip_forward=1");
  gateway.facts.ip_forward = true;
  gateway.facts.conntrack = false;
  CHECK(only(gateway).remedy == "modprobe nf_conntrack");
  gateway.facts.conntrack = true;
  gateway.facts.most_flows = 1000;
  gateway.facts.flows = 899;
  CHECK(gateway.findings().empty());
  gateway.facts.flows = 900;
  CHECK(only(gateway).remedy == "sysctl -w net.netfilter.nf_conntrack_max=4000");
  gateway.facts.flows = 0;
  gateway.facts.queue_statement = false;
  CHECK(gateway.findings().empty());  // the xt target does as well
  gateway.facts.queue_target = false;
  CHECK(only(gateway).remedy == "modprobe nft_queue");
  gateway.facts.queue_statement = true;
  gateway.facts.queues = {5191, 5193};
  CHECK_THAT(only(gateway).remedy, Contains("'queue-peer = 5194'"));
  gateway.facts.service_running = true;
  CHECK(gateway.findings().empty());
  gateway.facts.foreign_table = true;
  CHECK(only(gateway).kind == "table");
  gateway.facts.foreign_table = false;
  gateway.facts.unread_tables = {"filter"};
  CHECK_FALSE(only(gateway).certain);
}

TEST_CASE("a strict reverse path matters with two ways out", "[doctor][host]") {
  Gateway gateway;
  gateway.facts.rp_filter = {{"eth0", 1}, {"br-lan", 0}};
  CHECK(gateway.findings().empty());
  gateway.facts.ways_out = 2;
  const auto found = only(gateway);
  CHECK(found.remedy == "sysctl -w net.ipv4.conf.eth0.rp_filter=2");
  CHECK_FALSE(found.certain);
}

TEST_CASE("ports of the gateway itself matter with masquerade alone", "[doctor][host]") {
  const auto with = [](const char* masquerade) {
    Gateway gateway{{"--masquerade", masquerade}};
    gateway.facts.listeners = {{make_ipv4(0, 0, 0, 0), Port{20005}},
                               {make_ipv4(127, 0, 0, 1), Port{20006}},
                               {make_ipv4(0, 0, 0, 0), Port{22}}};
    return gateway;
  };
  CHECK(with("no").findings().empty());
  const auto found = only(with("yes"));
  CHECK(found.kind == "listener");
  CHECK_THAT(found.remedy, Contains("'port-deny = 20005'"));

  Gateway gateway{{"--masquerade", "yes", "--port-range", "40000-40099"}};
  const auto taken = only(gateway);
  CHECK(taken.kind == "ephemeral");
  CHECK(taken.remedy == "sysctl -w net.ipv4.ip_local_reserved_ports=40000-40099");
  gateway.facts.reserved = {{8080, 8080}};
  gateway.facts.reserved_words = "8080";
  CHECK(only(gateway).remedy == "sysctl -w net.ipv4.ip_local_reserved_ports=8080,40000-40099");
  gateway.facts.reserved = {{40000, 40099}};
  CHECK(gateway.findings().empty());
}

TEST_CASE("no DNS server, or one that does not answer", "[doctor][host]") {
  Gateway gateway;
  gateway.facts.name_servers.clear();
  CHECK(only(gateway).kind == "dns");
  gateway.facts.name_servers = {make_ipv4(192, 0, 2, 53)};
  gateway.facts.resolver_fault = "login.example.org did not resolve: A: timeout";
  CHECK_THAT(only(gateway).what, Contains("did not resolve"));
  Gateway literal;
  literal.config.login_hosts = {{make_ipv4(203, 0, 113, 5), {}, false}};
  literal.facts.name_servers.clear();
  CHECK(literal.findings().empty());
}

TEST_CASE("check's part is the configuration's", "[doctor][host]") {
  Gateway gateway;
  gateway.facts.ip_forward = false;
  CHECK(examine_configuration(gateway.config, gateway.facts).empty());
  gateway.facts.missing_interfaces = {"eth0"};
  CHECK(examine_configuration(gateway.config, gateway.facts).size() == 1);
}

const std::string kMetaMark = R"({"meta":{"key":"mark"}})", kCtMark = R"({"ct":{"key":"mark"}})";
std::string set_mark(const std::string& key, const std::string& value, const std::string& before = "") {
  return "[" + before + R"({"mangle":{"key":)" + key + R"(,"value":)" + value + "}}]";
}

TEST_CASE("bits of our mask that others write", "[doctor][mark]") {
  const auto at = [](const std::string& hook, int priority, const std::string& rule) {
    return Gateway{}.chain("c", "filter", hook, priority, "accept", {rule}).of("mark");
  };
  // ct mark: anywhere on the way of a forwarded packet
  const auto whole = at("prerouting", -150, set_mark(kCtMark, kMetaMark));
  REQUIRE(whole.size() == 1);
  CHECK(whole[0].remedy == "nft replace rule inet t c handle 1 'ct mark & 0x06000000 == 0 rule 1'");
  CHECK(at("output", -150, set_mark(kCtMark, kMetaMark)).empty());
  CHECK(at("prerouting", -150,
           set_mark(kCtMark, "1",
                    R"({"match":{"op":"==","left":{"&":[{"ct":{"key":"mark"}},100663296]},"right":0}},)"))
            .empty());
  CHECK(at("prerouting", -150, set_mark(kCtMark, R"({"|":[{"ct":{"key":"mark"}},1]})")).empty());
  const auto bit = at("prerouting", -150, set_mark(kCtMark, R"({"|":[{"ct":{"key":"mark"}},33554432]})"));
  REQUIRE(bit.size() == 1);
  CHECK_THAT(bit[0].remedy, Contains("'mark-mask = 0xc0000000'"));
  CHECK(at("prerouting", -150, set_mark(kCtMark, R"({"|":[{"&":[{"ct":{"key":"mark"}},4294967040]},1]})"))
            .empty());
  // the packet's mark: before ours in prerouting it is taken out, behind it is not
  CHECK(at("prerouting", -150, set_mark(kMetaMark, "1")).empty());
  CHECK(at("prerouting", -100, set_mark(kMetaMark, kCtMark)).size() == 1);
  CHECK(at("prerouting", -100, set_mark(kMetaMark, "1")).empty());
  CHECK(at("prerouting", -100, set_mark(kMetaMark, "33554432")).size() == 1);
  CHECK(at("forward", -150, set_mark(kMetaMark, kCtMark)).size() == 1);
  CHECK(at("forward", -150, set_mark(kMetaMark, "1")).empty());  // ours comes on top of it
  CHECK(at("forward", 0, set_mark(kMetaMark, "1")).size() == 1);
  // what never is a connection of ICQ's, or is one only before icqgate has seen it
  const std::string udp = R"({"match":{"op":"==","left":{"meta":{"key":"l4proto"}},"right":"udp"}},)";
  CHECK(at("postrouting", -150, set_mark(kCtMark, kMetaMark, udp)).empty());
  const std::string fresh = R"({"match":{"op":"in","left":{"ct":{"key":"state"}},"right":"new"}},)";
  CHECK(at("prerouting", -150, set_mark(kCtMark, "1", fresh)).empty());
  CHECK(at("postrouting", -150, set_mark(kCtMark, "1", fresh)).size() == 1);
  CHECK(at("postrouting", 100, set_mark(kMetaMark, "1")).empty());
}

TEST_CASE("bits of our mask that others test", "[doctor][mark]") {
  const auto testing = [](std::uint64_t mask, const std::string& right) {
    return Gateway{}
        .forward({R"([{"match":{"op":"==","left":{"&":[{"meta":{"key":"mark"}},)" + std::to_string(mask) +
                  R"(]},"right":)" + right + R"(}},{"counter":null}])"})
        .of("mark");
  };
  CHECK(testing(0xff0000, "524288").empty());      // Tailscale
  CHECK(testing(0x4000, "16384").empty());         // Kubernetes
  const auto wide = testing(0xffff0000, "65536");  // Calico
  REQUIRE(wide.size() == 1);
  CHECK_FALSE(wide[0].certain);
  CHECK_THAT(wide[0].remedy, Contains("'mark-mask = 0x0000c000'"));
  CHECK(testing(0x06000000, "0").empty());
}

TEST_CASE("ip rules that test our bits", "[doctor][mark]") {
  Gateway gateway;
  gateway.facts.policy_rules = {{100, 0x1, 0xffffffff, "100"}, {200, 0x80000, 0xff0000, "52"}};
  CHECK(gateway.findings().empty());
  gateway.facts.policy_rules.push_back({300, 0x2000000, 0xf000000, "7"});
  const auto found = only(gateway);
  CHECK(found.what == "ip rule 300: fwmark 0x2000000/0xf000000 uses the bits 0x06000000 of mark-mask");
  CHECK_THAT(found.remedy, Contains("'mark-mask = 0xc0000000'"));
}

TEST_CASE("translations to elsewhere", "[doctor][dnat]") {
  const auto with = [](const std::string& rule, const char* masquerade = "yes") {
    return Gateway{{"--masquerade", masquerade}}
        .chain("pre", "nat", "prerouting", -100, "accept", {rule})
        .of("dnat");
  };
  const auto port = [](const std::string& right) {
    return R"([{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":)" + right +
           "}},";
  };
  const std::string dnat = R"({"dnat":{"addr":"192.168.1.9"}}])", redirect = R"({"redirect":{"port":80}}])";
  CHECK(with(port("20010") + dnat).size() == 1);
  CHECK(with(port("20010") + redirect).size() == 1);
  CHECK(with(port("8080") + dnat).empty());
  CHECK(with(R"([{"match":{"op":"==","left":{"meta":{"key":"iifname"}},"right":"br-lan"}},)" + dnat).empty());
  // everything to one host
  const auto all = with("[" + dnat);
  REQUIRE(all.size() == 1);
  CHECK(all[0].remedy ==
        "nft insert rule inet t pre 'iifname \"eth0\" tcp dport 20000-20099 accept comment \"icqgate\"'");
  // of the gateway's own address only: clients with addresses of their own are not meant
  const std::string own =
      R"([{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"daddr"}},"right":"198.51.100.1"}},)" +
      dnat;
  CHECK(with(own).size() == 1);
  CHECK(with(own, "no").empty());
}

}  // namespace
}  // namespace icqgate::doctor
