// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/proxy_config.hpp"

#include <catch2/catch.hpp>

using namespace icqgate;
using namespace icqgate::cli;

namespace {

std::string made(std::string_view program, std::string_view profile, const std::string& text,
                 const std::string& proxy = "proxy = 192.168.1.2\n") {
  const auto config = config::parse(proxy + text, "c");
  REQUIRE(config);
  const auto result = proxy_config(program, *find_profile(profile), *config);
  return result ? *result : "error: " + result.error();
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

// Where in the text; rules count from above.
std::size_t place(const std::string& text, std::string_view part) {
  const auto at = text.find(part);
  REQUIRE(at != std::string::npos);
  return at;
}

}  // namespace

TEST_CASE("dante: where it listens, for whom, and which ports", "[cli][proxy]") {
  const auto text = made("dante", "socks",
                         "client = 192.168.1.0/24, 10.9.9.9, 2001:db8::/64\nport-range = 24000-24009\n"
                         "login-port = 5190, 443");
  CHECK(has(text, "\ninternal: 192.168.1.2 port = 1080\nexternal: 192.168.1.2\n"));
  for (const auto* const client : {"192.168.1.0/24", "10.9.9.9/32"}) {
    const std::string from = std::string{"  from: "} + client + " to: ";
    CHECK(has(text, "client pass {\n" + from + "192.168.1.2/32\n"));
    CHECK(has(text, "socks pass {\n" + from + "192.168.1.2/32 port 24000 - 24009\n  command: bind\n"));
    CHECK(has(text, "socks pass {\n" + from + "192.168.1.2/32 port 24000 - 24009\n  command: connect\n"));
    CHECK(has(text, "socks pass {\n" + from + "0.0.0.0/0 port = 443\n  command: connect\n"));
    CHECK(has(text, "socks pass {\n" + from + "0.0.0.0/0 port 1024 - 65535\n  command: connect\n"));
    CHECK(
        has(text, std::string{"socks pass {\n  from: 0.0.0.0/0 to: "} + client + "\n  command: bindreply\n"));
  }
  CHECK_FALSE(has(text, "2001:db8"));
  CHECK_FALSE(has(text, "port = 25"));
  CHECK(has(text, "ip_local_port_range=\"24000 24009\""));
}

TEST_CASE("dante: two addresses are the two sides of one host", "[cli][proxy]") {
  const auto text = made("dante", "socks", "client = 192.168.1.0/24\nport-range = 24000-24009",
                         "proxy = 192.168.1.1, 203.0.113.1, 2001:db8::1, gateway\nproxy-port = 1081\n");
  CHECK(has(text, "\ninternal: 192.168.1.1 port = 1081\nexternal: 203.0.113.1\n"));
  CHECK(has(text, " to: 192.168.1.1/32\n"));
  CHECK(has(text, " to: 203.0.113.1/32 port 24000 - 24009\n  command: bind\n"));
  CHECK(has(text, "socks block {\n  from: 0.0.0.0/0 to: 203.0.113.1/32\n  command: connect\n"));
}

TEST_CASE("dante: what is inside is blocked before anything else is passed", "[cli][proxy]") {
  const auto text = made("dante", "socks", "client = 192.168.1.0/24");
  const auto peers = place(text, "0.0.0.0/0 port 1024 - 65535");
  for (const auto* const network : {"192.168.0.0/16", "10.0.0.0/8", "172.16.0.0/12", "100.64.0.0/10",
                                    "127.0.0.0/8", "0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"})
    CHECK(place(text, std::string{"socks block {\n  from: 0.0.0.0/0 to: "} + network +
                          "\n  command: connect\n") < peers);
  CHECK(text.ends_with("socks block {\n  from: 0.0.0.0/0 to: 0.0.0.0/0\n  log: connect error\n}\n"));
  CHECK(has(text, "client block {\n  from: 0.0.0.0/0 to: 0.0.0.0/0\n"));
  CHECK(has(made("dante", "socks", "client = 10.0.0.1\nport-range = 24000"),
            "192.168.1.2/32 port = 24000\n  command: bind\n"));
}

TEST_CASE("squid: tunnels of the clients to login ports alone", "[cli][proxy]") {
  const auto text = made(
      "squid", "https",
      "client = 192.168.1.0/24, 2001:db8::/64\nlogin-port = 5190\nlogin-host = a.example:443, b.example");
  CHECK(has(text, "\nhttp_port 192.168.1.2:3128\n"));
  CHECK(has(text, "\nacl icq_clients src 192.168.1.0/24 2001:db8::/64\n"));
  CHECK(has(text, "\nacl icq_ports port 443 5190\n"));
  CHECK(has(text,
            "\nacl inside dst 0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 "
            "192.168.0.0/16 224.0.0.0/3 ::/128 ::1/128 2001:db8::/64 fc00::/7 fe80::/10 ff00::/8\n"));
  // Only what no other network contains: Squid warns of the rest.
  CHECK(has(made("squid", "https", "client = 10.0.0.0/8, 10.1.0.0/16, 10.1.2.3, 10.0.0.0/8"),
            "\nacl icq_clients src 10.0.0.0/8\n"));
  CHECK(has(
      made("squid", "https", "client = 10.0.0.1\nlogin-host = icq.lab!private"),  // peers are private, too
      "\nacl inside dst 0.0.0.0/8 10.0.0.1/32 127.0.0.0/8 169.254.0.0/16 192.168.1.2/32 224.0.0.0/3 ::/128"));
  CHECK(has(made("squid", "https", "client = 10.0.0.1", "proxy = 2001:db8::2, 10.0.0.2, 10.0.0.3\n"),
            "\nhttp_port 10.0.0.2:3128\nhttp_port [2001:db8::2]:3128\n\n"));
  // One thing is allowed, all else denied.
  CHECK(place(text, "http_access allow icq_clients icq_tunnel icq_ports !inside\nhttp_access deny all\n") ==
        text.find("http_access"));
  CHECK(text.find("http_access allow") == text.rfind("http_access allow"));
  CHECK(has(made("squid", "https", "client = 2001:db8::/64", "proxy = 2001:db8::2\n"),
            "\nhttp_port [2001:db8::2]:3128\n"));
}

TEST_CASE("a proxy's configuration that can't be made", "[cli][proxy]") {
  const std::string clients = "client = 192.168.1.0/24";
  CHECK(made("privoxy", "socks", clients) ==
        "error: --proxy-config: 'privoxy': no proxy that is known; expected dante (profile socks) or squid "
        "(profile "
        "https)");
  CHECK(made("dante", "https", clients) ==
        "error: --proxy-config: 'dante': a SOCKS server; expected --profile socks");
  CHECK(made("squid", "range", clients) ==
        "error: --proxy-config: 'squid': an HTTPS proxy; expected --profile https");
  CHECK(has(made("squid", "https", clients, "proxy = gateway\n"), "the address it listens on is not said"));
  CHECK(has(made("dante", "socks", clients, "proxy = gateway\n"),
            "'dante': the IPv4 address it listens on is not said"));
  CHECK(has(made("dante", "socks", clients, "proxy = 2001:db8::2\n"),
            "the IPv4 address it listens on is not said"));
  // Everybody may use it: never.
  CHECK(has(made("dante", "socks", ""),
            "'dante': who may use it is not said; expected --client NETWORK (IPv4)"));
  CHECK(has(made("dante", "socks", "client = 2001:db8::/64"), "who may use it is not said"));
  CHECK(has(made("squid", "https", ""), "'squid': who may use it is not said; expected --client NETWORK"));
}
