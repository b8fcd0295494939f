// SPDX-License-Identifier: GPL-2.0-or-later
#include <catch2/catch.hpp>

#include "config/config.hpp"

using namespace icqgate;
using namespace icqgate::config;
using namespace std::chrono_literals;

namespace {

using Lines = std::vector<std::string>;
using Arguments = std::vector<std::string>;

// The configuration, of a text that has to be right.
Config good(std::string_view text, const Arguments& arguments = {}) {
  const auto config = parse(text, "c", arguments);
  if (!config)
    for (const auto& error : config.error()) UNSCOPED_INFO(config::to_string(error));
  REQUIRE(config);
  return *config;
}

// The errors, as a user reads them.
Lines bad(std::string_view text, const Arguments& arguments = {}) {
  Lines lines;
  const auto config = parse(text, "c", arguments);
  if (config) return lines;
  for (const auto& error : config.error()) lines.push_back(config::to_string(error));
  CHECK_FALSE(lines.empty());
  return lines;
}

Port port(int number) { return Port{static_cast<std::uint16_t>(number)}; }

}  // namespace

TEST_CASE("without a word the defaults stand", "[config]") {
  const auto config = good("");
  CHECK(config.login_hosts == std::vector<LoginHost>{{dns::DomainName{"login.icq.com"}, std::nullopt}});
  CHECK(config.login_ports == std::vector<Port>{port(5190)});
  CHECK(config.lan == Lines{"br-lan"});
  CHECK(config.wan == Lines{"eth0"});
  // The rest is what Config says by itself: the two are written apart and have to agree.
  Config plain;
  plain.login_hosts = config.login_hosts;
  plain.login_ports = config.login_ports;
  plain.lan = config.lan;
  plain.wan = config.wan;
  CHECK(config == plain);
  CHECK(good("\n\n  # only a comment\n\t\n") == config);
}

TEST_CASE("every key arrives where it belongs", "[config]") {
  const auto config = good(R"(
login-host = login.example.org          # a comment
login-host = 192.0.2.7:443
login-port = 5190, 443
lan = eth1
lan = wlan*
wan = ppp0,eth0
client = 192.168.1.0/24, 192.168.2.5
port-range = 30000-30009
port-deny = 30003, 30005-30006
ports-per-client = 5
masquerade = yes
resolver = 127.0.0.1:5353
resolver = 2001:db8::1
ttl-min = 5
ttl-max = 2h
keep = 0
queries-per-minute = 60
hold-answers = no
dns-server = 192.0.2.53, 2001:db8::53
addresses-per-name = 8
addresses-total = 16
table = my_icq/1.x
priority = -10
mark-mask = 0x30
queue-control = 0
queue-peer = 65535
queue-names = 7
owner = yes
timeout-update = replace
state = none
peer-check = log
check-cookie = no
allow-old-versions = false
pinhole-timeout = 90s
session-idle = 1d
socket = /tmp/x.sock
flush-on-exit = true
policy = gateway
also-allow = udp/53, tcp/8000-8100
map = 192.168.1.10=24000-24009, 192.168.2.5=24010
proxy = 192.168.1.2, 2001:db8::2, gateway
proxy-port = 1081
)");
  CHECK(config.login_hosts == std::vector<LoginHost>{{dns::DomainName{"login.example.org"}, std::nullopt},
                                                     {IpAddress{make_ipv4(192, 0, 2, 7)}, port(443)}});
  CHECK(config.login_ports == std::vector<Port>{port(5190), port(443)});
  CHECK(config.lan == Lines{"eth1", "wlan*"});
  CHECK(config.wan == Lines{"ppp0", "eth0"});
  CHECK(config.clients ==
        std::vector<Subnet>{{make_ipv4(192, 168, 1, 0), 24}, {make_ipv4(192, 168, 2, 5), 32}});
  CHECK(config.port_range == PortRange{port(30000), port(30009)});
  CHECK(config.port_deny == std::set<Port>{port(30003), port(30005), port(30006)});
  CHECK(config.ports_per_client == 5);
  CHECK(config.masquerade);
  CHECK(config.resolvers == std::vector<Endpoint>{{make_ipv4(127, 0, 0, 1), port(5353)},
                                                  {*parse_address("2001:db8::1"), port(53)}});
  CHECK(config.ttl_min == 5s);
  CHECK(config.ttl_max == 2h);
  CHECK(config.keep == 0s);
  CHECK(config.queries_per_minute == 60);
  CHECK_FALSE(config.hold_answers);
  CHECK(config.dns_servers ==
        std::vector<IpAddress>{make_ipv4(192, 0, 2, 53), *parse_address("2001:db8::53")});
  CHECK(config.addresses_per_name == 8);
  CHECK(config.addresses_total == 16);
  CHECK(config.table == "my_icq/1.x");
  CHECK(config.priority == -10);
  CHECK(config.mark_mask == 0x30);
  CHECK(config.queue_control == 0);
  CHECK(config.queue_peer == 65535);
  CHECK(config.queue_names == 7);
  CHECK(config.owner);
  CHECK(config.timeout_update == TimeoutUpdate::Replace);
  CHECK(config.state.empty());
  CHECK(config.peer_check == PeerCheck::Log);
  CHECK_FALSE(config.check_cookie);
  CHECK_FALSE(config.allow_old_versions);
  CHECK(config.pinhole_timeout == 90s);
  CHECK(config.session_idle == 24h);
  CHECK(config.policy == nft::Policy::Gateway);
  CHECK(config.also_allowed == std::vector<nft::Service>{{nft::Transport::Udp, port(53), port(53)},
                                                         {nft::Transport::Tcp, port(8000), port(8100)}});
  CHECK(config.maps == std::vector<nft::PortMap>{{make_ipv4(192, 168, 1, 10), port(24000), port(24009)},
                                                 {make_ipv4(192, 168, 2, 5), port(24010), port(24010)}});
  CHECK(config.proxies == std::vector<IpAddress>{make_ipv4(192, 168, 1, 2), *parse_address("2001:db8::2")});
  CHECK(config.proxy_on_gateway);
  CHECK(config.proxy_port == port(1081));
  CHECK(config.socket == "/tmp/x.sock");
  CHECK(config.flush_on_exit);
}

TEST_CASE("an error says where, what and what was expected", "[config]") {
  CHECK(
      bad("\n\n\n\n\n\nport-range = 30000-20000\n") ==
      Lines{"c:7:14: port-range: '30000-20000': the first port is above the last; expected FIRST-LAST within "
            "1024-65535"});
  CHECK(bad("peer-check=loud") == Lines{"c:1:12: peer-check: 'loud': expected strict, log or off"});
  CHECK(bad("  queue-peer\t=  7x  # no") ==
        Lines{"c:1:17: queue-peer: '7x': expected a queue number, 0-65535"});
  CHECK(bad("masquerade = maybe") == Lines{"c:1:14: masquerade: 'maybe': expected yes or no"});
  CHECK(bad("", {"--table", "9"}) ==
        Lines{"--table: '9': expected a letter or _, then letters, digits, _ / or ., at "
              "most 31 in all"});
}

TEST_CASE("maps give no port twice, and only to clients", "[config]") {
  const Lines overlap{
      "c:2:7: map: '10.0.0.2=2005-2009': ports of it are also in '10.0.0.1=2000-2005'; expected ranges that "
      "do not overlap"};
  CHECK(bad("map = 10.0.0.1=2000-2005\nmap = 10.0.0.2=2005-2009") == overlap);
  CHECK(parse("map = 10.0.0.1=2000-2004, 10.0.0.2=2005-2009\nmap = 10.0.0.1=2000-2004", "c"));
  CHECK(bad("client = 10.0.0.0/24\nmap = 10.0.1.1=2000") ==
        Lines{"c:2:7: map: '10.0.1.1=2000': 10.0.1.1 is in no network of client; expected an address within "
              "client"});
  CHECK(parse("client = 10.0.0.0/24\nmap = 10.0.0.1=2000", "c"));
}

TEST_CASE("the position is part of the error, not only of its text", "[config]") {
  const auto config = parse("lan = eth1\nlogin-port = 5190, x, 443\n", "icqgate.conf");
  REQUIRE_FALSE(config);
  REQUIRE(config.error().size() == 1);
  const ConfigError& error = config.error()[0];
  CHECK(error.file == "icqgate.conf");
  CHECK(error.line == 2);
  CHECK(error.column == 20);
  CHECK(error.message == "login-port: 'x': expected a port, 1-65535");
}

TEST_CASE("errors are printed with as much of a position as they have", "[config]") {
  CHECK(config::to_string(ConfigError{"f", 3, 4, "m"}) == "f:3:4: m");
  CHECK(config::to_string(ConfigError{"", 3, 4, "m"}) == "3:4: m");
  CHECK(config::to_string(ConfigError{"f", 0, 0, "m"}) == "f: m");
  CHECK(config::to_string(ConfigError{"", 0, 0, "--lan: m"}) == "--lan: m");
}

TEST_CASE("unknown keys name the nearest known one", "[config]") {
  CHECK(bad("port_range = 1") == Lines{"c:1:1: unknown key 'port_range'; did you mean port-range?"});
  CHECK(bad(" Lan = x") == Lines{"c:1:2: unknown key 'Lan'; did you mean lan?"});
  CHECK(bad("masqerade = yes") == Lines{"c:1:1: unknown key 'masqerade'; did you mean masquerade?"});
  CHECK(bad("login-hosts = x") == Lines{"c:1:1: unknown key 'login-hosts'; did you mean login-host?"});
  CHECK(bad("port = 1") == Lines{"c:1:1: unknown key 'port'; did you mean port-range?"});
  CHECK(bad("colour = blue") == Lines{"c:1:1: unknown key 'colour'"});
  CHECK(bad("xyz = 1") == Lines{"c:1:1: unknown key 'xyz'"});  // three edits away from everything short
  CHECK(bad("lan eth = 1") == Lines{"c:1:1: unknown key 'lan eth'"});
}

TEST_CASE("lines that are no statement", "[config]") {
  CHECK(bad("lan br-lan") == Lines{"c:1:1: 'lan br-lan': no '='; expected KEY = VALUE"});
  CHECK(bad("[main]") == Lines{"c:1:1: '[main]': no '='; expected KEY = VALUE"});
  CHECK(bad(" = 5") == Lines{"c:1:2: no key before '='; expected KEY = VALUE"});
  CHECK(bad("lan =") ==
        Lines{"c:1:6: lan: '': an empty value; expected an interface name of 1-15 characters, which may "
              "end in *"});
  CHECK(bad("table =   # my table").size() == 1);
  CHECK(bad("login-port = 5190,") ==
        Lines{"c:1:19: login-port: '': an empty value; expected a port, 1-65535"});
  CHECK(bad("login-port = 5190,,443").size() == 1);
  CHECK(bad("login-port = ,").size() == 2);
}

TEST_CASE("a key that takes one value takes it once", "[config]") {
  CHECK(bad("table = a\n\ntable = b") == Lines{"c:3:1: table: given twice; the first is on line 1"});
  CHECK(bad("table = 9\ntable = b").size() == 2);
  CHECK(bad("", {"--table", "a", "--table=b"}) == Lines{"--table: given twice"});
  CHECK(bad("table = a, b").size() == 1);
  CHECK(good("lan = a\nlan = b\nlan = a, c").lan == Lines{"a", "b", "c"});
}

TEST_CASE("Windows line ends, a byte order mark and a missing last line end are tolerated", "[config]") {
  const auto config = good("\xef\xbb\xbftable = a\r\nlan = eth7\r\n\r\nmasquerade = yes\r");
  CHECK(config.table == "a");
  CHECK(config.lan == Lines{"eth7"});
  CHECK(config.masquerade);
  CHECK(bad("\xef\xbb\xbftabel = a\r\n") == Lines{"c:1:1: unknown key 'tabel'; did you mean table?"});
}

TEST_CASE("columns count characters, not bytes", "[config]") {
  CHECK(
      bad("lan = \xc3\xa4\xc3\xb6, a/b") ==
      Lines{"c:1:7: lan: '\\xc3\\xa4\\xc3\\xb6': a character that no interface name has; expected an "
            "interface name of "
            "1-15 characters, which may end in *",
            "c:1:11: lan: 'a/b': a character that no interface name has; expected an interface name of 1-15 "
            "characters, which may end in *"});
}

TEST_CASE("control characters are refused, wherever they stand", "[config]") {
  CHECK(bad(std::string_view{"lan = a\0b", 9}) == Lines{"c:1:8: the control character 0x00; expected text"});
  CHECK(bad("# \x1b[2J") == Lines{"c:1:3: the control character 0x1b; expected text"});
  CHECK(bad("lan = a\rwan = b\n") == Lines{"c:1:8: the control character 0x0d; expected text"});
  CHECK(bad("lan = a\x7f") == Lines{"c:1:8: the control character 0x7f; expected text"});
  CHECK(good("# \xc3\xa4\nlan\t=\ta\t").lan == Lines{"a"});
}

TEST_CASE("an error shows no byte that moves the cursor", "[config]") {
  const auto lines = bad("", {"--table", "a\x1b[2J\n", "--lan=\xff", "--lan\x01\x1b=", "\x1b"});
  REQUIRE(lines.size() == 4);
  for (const auto& line : lines)
    for (const char c : line) CHECK((c >= ' ' && c <= '~'));
}

TEST_CASE("lines of 4096 characters are the longest", "[config]") {
  const std::string most = "lan = a #" + std::string(4087, 'x');
  REQUIRE(most.size() == 4096);
  CHECK(good(most).lan == Lines{"a"});
  CHECK(bad(most + "x\n" + most) == Lines{"c:1:1: the line has 4097 characters; expected at most 4096"});
  CHECK(bad("lan = " + std::string(4000, 'x'))[0].size() < 300);
}

TEST_CASE("after twenty errors the rest is only mentioned", "[config]") {
  std::string text;
  for (int i = 0; i < 20; ++i) text += "nonsense\n";
  CHECK(bad(text).size() == 20);
  const auto lines = bad(text + "nonsense\nnonsense\n");
  REQUIRE(lines.size() == 21);
  CHECK(lines[19] == "c:20:1: 'nonsense': no '='; expected KEY = VALUE");
  CHECK(lines[20] == "c:21:1: more errors not shown");
  CHECK(bad("lan = " + std::string(1000, ',')).size() == 21);
  CHECK(bad("", Arguments(50, "--nonsense")).size() == 21);
}

TEST_CASE("all errors are reported, those of the command line too", "[config]") {
  const auto lines = bad("tabel = a\nlan = a/b\nttl-min = 0\n", {"--ports-per-client=65", "--lan"});
  CHECK(lines.size() == 5);
}

TEST_CASE("contradictions between keys are found", "[config]") {
  CHECK(bad("ttl-min = 2h") == Lines{"c:1:11: ttl-min: 2h is above ttl-max, 1h"});
  CHECK(bad("ttl-max = 10") == Lines{"c:1:11: ttl-max: 10s is below ttl-min, 30s"});
  CHECK(bad("ttl-min = 2h", {"--ttl-max=1h"}) == Lines{"--ttl-max: 1h is below ttl-min, 2h"});
  CHECK(bad("ttl-min = 2h\nttl-max = x").size() == 1);  // only the x
  CHECK(good("ttl-min = 1h").ttl_min == 1h);

  CHECK(bad("queue-peer = 5190") ==
        Lines{"c:1:14: queue-peer: '5190': the same as queue-control; expected two different queue numbers"});
  CHECK(bad("queue-control = 5191") ==
        Lines{"c:1:17: queue-control: '5191': the same as queue-peer; expected two different queue numbers"});
  CHECK(bad("queue-control = 1\nqueue-peer = 1").size() == 1);
  CHECK(
      bad("queue-names = 5190") ==
      Lines{"c:1:15: queue-names: '5190': the same as queue-control; expected two different queue numbers"});
  CHECK(bad("addresses-per-name = 100\naddresses-total = 99") ==
        Lines{"c:1:22: addresses-per-name: '100': one name may have more addresses than all may; expected "
              "addresses-per-name up to addresses-total"});
  CHECK(bad("dns-server = system, 192.0.2.1") ==
        Lines{"c:1:14: dns-server: 'system': addresses are given beside it; expected system alone, or "
              "addresses"});
  for (const std::string address : {"127.0.0.1", "169.254.1.1"})
    CHECK(bad("login-host = " + address) ==
          Lines{"c:1:14: login-host: '" + address +
                "': a loopback or link-local address is none of a server outside; expected NAME, NAME:PORT, "
                "ADDRESS, ADDRESS:PORT or [IPV6]:PORT; !private behind a name"});
  CHECK(bad("login-host = 10.0.0.1!private") ==
        Lines{"c:1:14: login-host: '10.0.0.1!private': an address needs no '!private': it is allowed as it "
              "stands; "
              "expected NAME, NAME:PORT, ADDRESS, ADDRESS:PORT or [IPV6]:PORT; !private behind a name"});
  CHECK(bad("login-host = a.example!any").size() == 1);

  CHECK(
      bad("lan = eth0") ==
      Lines{
          "c:1:7: lan: 'eth0': also outside, by wan 'eth0'; expected an interface to be either lan or wan"});
  CHECK(
      bad("lan = eth*\nwan = eth1, ppp0") ==
      Lines{"c:2:7: wan: 'eth1': also inside, by lan 'eth*'; expected an interface to be either lan or wan"});
  CHECK(bad("lan = et*\nwan = eth*").size() == 1);
  CHECK(bad("lan = eth1\nwan = eth*").size() == 1);
  CHECK(good("lan = eth10\nwan = eth1").wan == Lines{"eth1"});

  CHECK(
      bad("resolver = 192.0.2.1\nresolver = system") ==
      Lines{
          "c:2:12: resolver: 'system': addresses are given beside it; expected system alone, or addresses"});
  CHECK(good("resolver = system").resolvers.empty());

  CHECK(bad("port-range = 3306").size() == 1);
  CHECK(bad("port-deny = 20000-20099") ==
        Lines{"c:1:13: port-deny: '20000-20099': with it every port of port-range is "
              "denied; expected to leave one at least"});
  CHECK(good("port-deny = 20000-20098").port_deny.size() == 99);
}

TEST_CASE("the command line replaces the file key by key", "[config][arguments]") {
  const std::string text = "lan = eth1, eth2\ntable = a\nkeep = 5m\n";
  const auto config = good(text, {"--lan", "eth3", "--lan=eth4", "--table=b", "--priority", "-7"});
  CHECK(config.lan == Lines{"eth3", "eth4"});
  CHECK(config.table == "b");
  CHECK(config.keep == 5min);
  CHECK(config.priority == -7);
  CHECK(good("wan = eth1", {"--lan", "eth0"}).lan == Lines{"eth0"});
  CHECK(good("lan = eth0", {"--lan", "eth1"}).lan == Lines{"eth1"});  // no clash with what was replaced
  CHECK(good("resolver = 192.0.2.1", {"--resolver", "system"}).resolvers.empty());
  CHECK(good("client = 10.0.0.0/8", {"--login-port=1,2", "--login-port", "3"}).login_ports ==
        std::vector<Port>{port(1), port(2), port(3)});
}

TEST_CASE("what the command line replaces has to be right all the same", "[config][arguments]") {
  CHECK(bad("table = 9", {"--table=b"}).size() == 1);
}

TEST_CASE("yes-or-no options may stand alone on the command line", "[config][arguments]") {
  CHECK(good("", {"--flush-on-exit"}).flush_on_exit);
  CHECK(good("", {"--flush-on-exit", "--masquerade"}).masquerade);
  CHECK_FALSE(good("", {"--check-cookie", "no"}).check_cookie);
  CHECK_FALSE(good("", {"--check-cookie=no"}).check_cookie);
  CHECK(good("check-cookie = no", {"--check-cookie"}).check_cookie);
  CHECK(bad("", {"--check-cookie="}) == Lines{"--check-cookie: no value; expected yes or no"});
}

TEST_CASE("wrong use of the command line", "[config][arguments]") {
  CHECK(bad("", {"--lan"}) ==
        Lines{"--lan: no value; expected an interface name of 1-15 characters, which may end in *"});
  CHECK(bad("", {"--queue-peer", "--masquerade"}) ==
        Lines{"--queue-peer: no value; expected a queue number, 0-65535"});
  CHECK(bad("", {"--queue-peer="}) == Lines{"--queue-peer: no value; expected a queue number, 0-65535"});
  CHECK(bad("", {"--queue-peer", ""}).size() == 1);
  CHECK(bad("", {"--tabel", "x"}) == Lines{"'--tabel': unknown option; did you mean --table?"});
  CHECK(bad("", {"--tab", "x"}) ==
        Lines{"'--tab': unknown option; did you mean --table?"});  // not taken for it
  CHECK(bad("", {"--colour="}) == Lines{"'--colour': unknown option"});
  CHECK(bad("", {"--colour=blue"}) == Lines{"'--colour': unknown option"});
  CHECK(bad("", {"stray"}) == Lines{"'stray': not an option; expected --KEY VALUE"});
  CHECK(bad("", {"-t", "--"}).size() == 2);
}

TEST_CASE("a subcommand's own arguments are left to it", "[config][arguments]") {
  const auto split =
      split_arguments({"emit", "--lan", "eth1", "--profile", "range", "--table=x", "-v", "--masquerade",
                       "--flush-on-exit", "no", "file", "--wide", "--check-cookie"});
  CHECK(split.configuration ==
        Lines{"--lan", "eth1", "--table=x", "--masquerade", "--flush-on-exit", "no", "--check-cookie"});
  CHECK(split.rest == Lines{"emit", "--profile", "range", "-v", "file", "--wide"});
  CHECK(good("", split.configuration).masquerade);
}

TEST_CASE("splitting: edges", "[config][arguments]") {
  CHECK(split_arguments({}).rest.empty());
  const auto ended = split_arguments({"--lan", "a", "--", "--wan", "b"});
  CHECK(ended.configuration == Lines{"--lan", "a"});
  CHECK(ended.rest == Lines{"--", "--wan", "b"});
  CHECK(split_arguments({"--lan", "--", "x"}).configuration == Lines{"--lan"});
  CHECK(split_arguments({"--priority", "-5"}).configuration == Lines{"--priority", "-5"});
  CHECK(split_arguments({"--masquerade", "-v"}).rest == Lines{"-v"});
  CHECK(split_arguments({"--lan"}).configuration == Lines{"--lan"});
  CHECK(split_arguments({"--lanx", "-lan", "lan", "--", "--"}).rest ==
        Lines{"--lanx", "-lan", "lan", "--", "--"});
}

TEST_CASE("--help shows every key with its default", "[config][arguments]") {
  const auto help = options_help();
  for (const auto* text :
       {"--login-host HOST[:PORT]", "--port-range FIRST-LAST", "20000-20099", "0x06000000",
        "--flush-on-exit yes|no", "login.icq.com", "repeatable", "--resolver system|ADDRESS[:PORT]"})
    CHECK(help.find(text) != std::string::npos);
  for (std::size_t start = 0; start < help.size();) {
    const auto end = help.find('\n', start);
    REQUIRE(end != std::string::npos);
    CHECK(end - start <= 80);
    start = end + 1;
  }
}
