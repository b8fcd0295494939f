// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/client_guide.hpp"

#include <fmt/format.h>

#include <catch2/catch.hpp>

using namespace icqgate;
using namespace icqgate::cli;

namespace {

config::Config configured(std::string_view text) {
  const auto config = config::parse(text, "c");
  REQUIRE(config);
  return *config;
}

std::string rows(const std::vector<nft::PortMap>& list) {
  std::string out;
  for (const auto& one : list)
    out += fmt::format("{}={} ", to_string(IpAddress{one.client}), nft::ports_in_words(one.first, one.last));
  return out;
}

std::string shared(std::string_view text, std::uint32_t each) {
  const auto list = ports_of_clients(configured(text), each);
  return list ? rows(*list) : list.error();
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

std::string guide(std::string_view name, std::string_view text,
                  std::optional<std::uint32_t> per_client = {}) {
  const auto* const profile = find_profile(name);
  REQUIRE(profile != nullptr);
  const auto made = client_guide(*profile, configured(text), per_client);
  return made ? *made : made.error();
}

}  // namespace

TEST_CASE("ports of clients follow the addresses and do not overlap", "[cli][guide]") {
  CHECK(shared("client = 192.168.1.9, 192.168.1.8\nport-range = 20000-20005", 3) ==
        "192.168.1.8=20000-20002 192.168.1.9=20003-20005 ");
  // A network: its hosts alone; named twice, they count once.
  CHECK(shared("client = 192.168.1.0/30, 192.168.1.2, 192.168.1.2\nport-range = 20000-20099", 4) ==
        "192.168.1.1=20000-20003 192.168.1.2=20004-20007 ");
  CHECK(shared("client = 10.0.0.4/31\nport-range = 20000-20099", 3) ==
        "10.0.0.4=20000-20002 10.0.0.5=20003-20005 ");
  // Peers are IPv4 only.
  CHECK(shared("client = 2001:db8::7, 10.0.0.4\nport-range = 20000-20099", 3) == "10.0.0.4=20000-20002 ");
}

TEST_CASE("no client gets a port that is never opened", "[cli][guide]") {
  const auto text = "client = 10.0.0.1, 10.0.0.2\nport-deny = 20001, 20007\nport-range = 20000-20011";
  CHECK(shared(text, 3) == "10.0.0.1=20002-20004 10.0.0.2=20008-20010 ");
  CHECK(shared("client = 10.0.0.1\nport-range = 3305-3400", 3) == "10.0.0.1=3307-3309 ");  // MySQL
}

TEST_CASE("every port of a full range is given out once", "[cli][guide]") {
  const auto list = ports_of_clients(configured("client = 10.0.0.0/24\nport-range = 30000-30761"), 3);
  REQUIRE(list);
  REQUIRE(list->size() == 254);
  std::uint32_t next = 30000;
  for (const auto& one : *list) {
    CHECK(one.first.get() == next);
    CHECK(one.last.get() - one.first.get() == 2);
    next = one.last.get() + 1u;
  }
  CHECK(next == 30762);
}

TEST_CASE("a range that is too small is told with the one that would do", "[cli][guide]") {
  CHECK(shared("client = 192.168.1.0/24\nport-range = 20000-20099", 3) ==
        "--per-client: 254 clients with 3 ports each need a port-range of 762 ports; 20000-20099 has 100: "
        "expected "
        "20000-20761");
  CHECK(shared("client = 10.0.0.1,10.0.0.2\nport-range = 20000-20004", 3) ==
        "--per-client: 2 clients with 3 ports each need a port-range of 6 ports; 20000-20004 has 5: expected "
        "20000-20005");
  // What it names is right: with it the same clients fit.
  CHECK_FALSE(has(shared("client = 10.0.0.1,10.0.0.2\nport-range = 20000-20005", 3), "need"));
  CHECK(has(shared("client = 10.0.0.0/8", 3),
            "16777214 clients with 3 ports each need a port-range of 50331642 ports, "
            "more than there are"));
  CHECK(has(shared("client = 10.0.0.1,10.0.0.2\nport-range = 65531-65535", 3),
            "more than there are from 65531 on"));
  CHECK(has(shared("client = 10.0.0.1\nport-range = 65533-65535", 3), "10.0.0.1=65533-65535"));
}

TEST_CASE("wrong uses of --per-client", "[cli][guide]") {
  CHECK(has(shared("client = 10.0.0.1", 2), "--per-client: '2': expected 3 or more"));
  CHECK(has(shared("", 3), "no client has an IPv4 address"));
  CHECK(has(shared("client = 2001:db8::/64", 3), "no client has an IPv4 address"));
  for (const auto* const name : {"direct", "outbound", "https"})
    CHECK(guide(name, "client = 10.0.0.1", 3) ==
          fmt::format(
              "--per-client: profile {} has no port-range to share out; expected profile range, socks or "
              "dynamic",
              name));
  CHECK(has(guide("masquerade", "client = 10.0.0.1", 3),
            "--per-client: profile masquerade gives out ports by --map"));
}

TEST_CASE("there is a guide for every profile", "[cli][guide]") {
  for (const auto& profile : profiles())
    CHECK(guide(profile.name, "")
              .starts_with(fmt::format("What to enter in the ICQ clients: profile {}\n", profile.name)));
}

TEST_CASE("the guide names servers as they are to be entered", "[cli][guide]") {
  const auto text = guide("outbound",
                          "login-host = icq.example.org!private, 192.0.2.7:443, other.example.org:5191\n"
                          "login-port = 5190, 5192");
  CHECK(has(text, "icq.example.org, port 5190 or 5192\n"));
  CHECK(has(text, "192.0.2.7, port 443\n"));
  CHECK(has(text, "other.example.org, port 5191\n"));
  CHECK_FALSE(has(text, "private"));
  CHECK(has(text, "by name, not by address"));
  CHECK_FALSE(has(guide("outbound", "login-host = 192.0.2.7"), "by name"));
}

TEST_CASE("the guide says what the profile lets in", "[cli][guide]") {
  for (const auto* const name : {"dynamic", "range", "socks"})
    CHECK(has(guide(name, "port-range = 24000-24009"), "24000-24009"));
  for (const auto* const name : {"direct", "outbound", "masquerade", "https"})
    CHECK_FALSE(has(guide(name, "port-range = 24000-24009"), "24000"));
  for (const auto* const name : {"dynamic", "direct", "range", "outbound", "masquerade"})
    CHECK(has(guide(name, ""), "Proxy              none\n"));
  CHECK(has(guide("range", "port-range = 24000"), "set its range to 24000\n"));
  CHECK(has(guide("outbound", ""), "Encryption         off"));
  CHECK(has(guide("outbound", "login-port = 5190, 443"), "Encryption         as you like\n"));
  CHECK(has(guide("dynamic", "login-port = 5190, 443"), "Encryption         off: icqgate can't read it"));
}

TEST_CASE("the guide names the proxy", "[cli][guide]") {
  CHECK(has(guide("socks", "proxy = 192.168.1.2\nproxy-port = 1081"),
            "SOCKS5: 192.168.1.2, port 1081; no user, no password\n"));
  CHECK(has(guide("https", "proxy = 192.168.1.2"), "HTTPS: 192.168.1.2, port 3128; no user, no password\n"));
  CHECK(has(guide("socks", "proxy = gateway"), "SOCKS5: this gateway's inside address, port 1080;"));
}

TEST_CASE("the table of ports", "[cli][guide]") {
  const std::string config = "client = 10.0.0.1, 10.0.0.20\nport-range = 24000-24009";
  const auto text = guide("range", config, 3);
  CHECK(has(
      text,
      "\nPorts of each client\n  CLIENT     PORTS\n  10.0.0.1   24000-24002\n  10.0.0.20  24003-24005\n"));
  CHECK_FALSE(has(text, "24000-24009"));
  CHECK(has(guide("socks", config, 3), "\nPorts on the SOCKS server\n"));
  // Behind one outside address every port has one client.
  const auto mapped = guide("masquerade", "map = 10.0.0.9=24100-24104, 10.0.0.10=24105");
  CHECK(has(mapped, "  CLIENT     PORTS\n  10.0.0.9   24100-24104\n  10.0.0.10  24105\n"));
  CHECK(has(mapped, "Listening ports    its ports below\n"));
  CHECK(has(guide("masquerade", config), "Listening ports    none"));
  CHECK(has(guide("dynamic", config + "\nmasquerade = yes"), "no two clients may use the same port"));
  CHECK_FALSE(has(guide("dynamic", config + "\nmasquerade = yes", 3), "no two clients"));
  CHECK_FALSE(has(guide("dynamic", config), "no two clients"));
}
