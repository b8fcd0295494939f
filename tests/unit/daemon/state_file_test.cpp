// SPDX-License-Identifier: GPL-2.0-or-later
#include "daemon/state_file.hpp"

#include <catch2/catch.hpp>
#include <cstdint>
#include <string>

using namespace icqgate;
using namespace std::chrono_literals;
using engine::Saved;

namespace {

using Clock = std::chrono::system_clock;
const Clock::time_point kThen{std::chrono::seconds{1'764'000'000}};

constexpr const char* kText = R"({
 "format": "icqgate state",
 "version": 1,
 "saved_at": 1764000000,
 "addresses": [
  {"name": "login.icq.com", "address": "192.0.2.5", "ttl_left": 55, "age": 5},
  {"name": "login.icq.com", "address": "2001:db8::5", "ttl_left": -600, "age": 4200}
 ],
 "sessions": [
  {"client": "192.168.1.20:40001", "server": "192.0.2.5:5190", "conntrack": 3735928559, "hosts": ["login.icq.com", "192.0.2.5"], "uin": 100003, "online": true, "moving": false, "external": "198.51.100.7", "exact": true, "to_server": 4294967295, "to_client": 0, "age": 3600, "silent": 12},
  {"client": "[2001:db8:1::20]:40002", "server": "[2001:db8::5]:5190", "conntrack": 0, "hosts": [], "uin": null, "online": false, "moving": true, "external": null, "exact": false, "to_server": 0, "to_client": 17, "age": 1, "silent": 0}
 ],
 "pinholes": [
  {"client": "192.168.1.20", "port": 20000, "uin": 100003, "owner": {"client": "192.168.1.20:40001", "server": "192.0.2.5:5190"}, "reason": "direct", "peers": 2, "age": 3500}
 ]
}
)";

Endpoint endpoint(const char* address, std::uint16_t port) { return {*parse_address(address), Port{port}}; }

Saved sample() {
  Saved saved;
  saved.addresses = {{"login.icq.com", *parse_address("192.0.2.5"), 55s, 5s},
                     {"login.icq.com", *parse_address("2001:db8::5"), -600s, 4200s}};
  const engine::FlowKey flow{endpoint("192.168.1.20", 40001), endpoint("192.0.2.5", 5190)};
  saved.sessions = {{.flow = flow,
                     .conntrack = 0xdeadbeef,
                     .hosts = {"login.icq.com", "192.0.2.5"},
                     .uin = Uin{100003},
                     .online = true,
                     .external = make_ipv4(198, 51, 100, 7),
                     .exact = true,
                     .to_server = 0xffffffff,
                     .to_client = 0,
                     .age = 1h,
                     .silent = 12s},
                    {.flow = {endpoint("2001:db8:1::20", 40002), endpoint("2001:db8::5", 5190)},
                     .hosts = {},
                     .uin = {},
                     .moving = true,
                     .external = {},
                     .to_server = 0,
                     .to_client = 17,
                     .age = 1s}};
  saved.pinholes = {{.client = make_ipv4(192, 168, 1, 20),
                     .port = Port{20000},
                     .uin = Uin{100003},
                     .owner = flow,
                     .reason = "direct",
                     .peers = 2,
                     .age = 3500s}};
  return saved;
}

// The sample's text with one piece of it replaced.
std::string with(std::string_view piece, std::string_view other) {
  std::string text = kText;
  const std::size_t at = text.find(piece);
  REQUIRE(at != std::string::npos);
  return text.replace(at, piece.size(), other);
}

std::string fault(std::string_view text) {
  const auto saved = daemon::decode_state(text, kThen);
  return saved ? "none" : saved.error();
}

}  // namespace

TEST_CASE("the state file is text to be read, and says everything", "[daemon][state]") {
  CHECK(daemon::encode_state(sample(), kThen) == kText);
  CHECK(daemon::decode_state(kText, kThen).value() == sample());
  const std::string empty = daemon::encode_state({}, kThen);
  CHECK(daemon::decode_state(empty, kThen).value() == Saved{});
  CHECK(fault(with("\"version\": 1,", "\"version\": 1, \"later\": {\"a\": [[1.5, \"x\", null]]},")) ==
        "none");
  CHECK(fault(with("\"age\": 5}", "\"age\": 5, \"later\": true}")) == "none");
}

TEST_CASE("time goes on while the service is down", "[daemon][state]") {
  const auto later = daemon::decode_state(kText, kThen + 100s).value();
  CHECK(later.addresses[0].ttl_left == -45s);
  CHECK(later.addresses[0].age == 105s);
  CHECK(later.addresses[1].ttl_left == -700s);
  CHECK(later.sessions[0].age == 3700s);
  CHECK(later.sessions[0].silent == 112s);
  CHECK(later.pinholes[0].age == 3600s);

  CHECK(daemon::decode_state(kText, kThen - 24h).value() == sample());
  CHECK(daemon::decode_state(kText, Clock::time_point{} - 1h).value() == sample());
  CHECK(daemon::decode_state(kText, kThen + daemon::kOldestState).value().addresses.size() == 2);

  const auto old = daemon::decode_state(kText, kThen + 24h * 365).value();
  CHECK(old.addresses.empty());
  CHECK(old.sessions[0].silent == 12s + daemon::kOldestState);
  CHECK(old.pinholes[0].age == 3500s + daemon::kOldestState);
  CHECK(daemon::decode_state(kText, Clock::time_point::max()).value().addresses.empty());
}

TEST_CASE("what was not written so is refused, with the place and what was expected", "[daemon][state]") {
  const auto [piece, other, said] = GENERATE(table<const char*, const char*, const char*>({
      {"icqgate state", "other", R"(format: expected "icqgate state", found "other")"},
      {"\"version\": 1", "\"version\": 2", "version: expected 1, found 2"},
      {"\"version\": 1", "\"version\": \"1\"", "version: expected 1, found \"1\""},
      {"\"version\": 1", "\"version\": true", "version: expected 1, found true"},
      {" \"version\": 1,\n", "", "version: expected 1, found nothing"},
      {"1764000000", "-1", "saved_at: expected a whole number from 0 to 253402300799, found -1"},
      {"1764000000", "1.5", "saved_at: expected a whole number from 0 to 253402300799, found 1.5"},
      {"1764000000", "18446744073709551615",
       "saved_at: expected a whole number from 0 to 253402300799, found 18446744073709551615"},
      {"1764000000", "1e400", "line 4: expected JSON"},
      {"1764000000", "NaN", "line 4: expected JSON"},
      {"\"sessions\": [", "\"sessions\": {}, \"x\": [", "sessions: expected a list, found {}"},
      {"\"pinholes\"", "\"pinhole\"", "pinholes: expected a list, found nothing"},
      {"\"version\": 1,", "\"version\": 1, \"version\": 1,", "key \"version\" is there twice in one object"},
      {"\"ttl_left\": 55", "\"ttl_left\": 1000000001",
       "addresses[0].ttl_left: expected a whole number from -1000000000 to 1000000000, found 1000000001"},
      {"\"age\": 5}", "\"age\": -1}",
       "addresses[0].age: expected a whole number from 0 to 1000000000, found -1"},
      {"login.icq.com", "Login.icq.com",
       "addresses[0].name: expected a host name in lower case, found \"Login.icq.com\""},
      {"login.icq.com", "a\\u000ab",
       "addresses[0].name: expected a host name in lower case, found \"a\\nb\""},
      {"\"2001:db8::5\"", "\"192.0.2.05\"",
       "addresses[1].address: expected an address, found \"192.0.2.05\""},
      {"2001:db8::5", "192.0.2.5",
       "addresses[1]: expected each only once, found "
       "{\"address\":\"192.0.2.5\",\"age\":4200,\"name\":\"login.icq.com\",\"tt..."},
      {"{\"name\": \"login.icq.com\", \"address\": \"192.0.2.5\", \"ttl_left\": 55, \"age\": 5}", "7",
       "addresses[0]: expected an object, found 7"},
      {"192.168.1.20:40001", "192.168.1.20:0",
       "sessions[0].client: expected an address with a port, found \"192.168.1.20:0\""},
      {"192.168.1.20:40001", "192.168.1.20:65536",
       "sessions[0].client: expected an address with a port, found \"192.168.1.20:65536\""},
      {"[2001:db8:1::20]:40002", "2001:db8:1::20:40002",
       "sessions[1].client: expected an address with a port, found \"2001:db8:1::20:40002\""},
      {"[2001:db8:1::20]:40002", "192.168.1.20:40002",
       "sessions[1].server: expected an address of the client's family, found \"[2001:db8::5]:5190\""},
      {"\"uin\": null", "\"uin\": 0",
       "sessions[1].uin: expected a whole number from 1 to 4294967295, found 0"},
      {"\"hosts\": []", "\"hosts\": {}", "sessions[1].hosts: expected a list of at most 8, found {}"},
      {"\"192.0.2.5\"], ", "\"LOGIN.icq.com\"], ",
       "sessions[0].hosts: expected a host name in lower case, or an address, found \"LOGIN.icq.com\""},
      {"\"192.0.2.5\"], ", "7], ",
       "sessions[0].hosts: expected a host name in lower case, or an address, found 7"},
      {"3735928559", "-1", "sessions[0].conntrack: expected a whole number from 0 to 4294967295, found -1"},
      {"\"exact\": true", "\"exact\": null", "sessions[0].exact: expected true or false, found null"},
      {"\"online\": true", "\"online\": 1", "sessions[0].online: expected true or false, found 1"},
      {"\"moving\": false, ", "", "sessions[0].moving: expected true or false, found nothing"},
      {"198.51.100.7", "2001:db8::7",
       "sessions[0].external: expected an IPv4 address, found \"2001:db8::7\""},
      {"4294967295", "4294967296",
       "sessions[0].to_server: expected a whole number from 0 to 4294967295, found 4294967296"},
      {"\"to_client\": 0, ", "",
       "sessions[0].to_client: expected a whole number from 0 to 4294967295, found nothing"},
      {"\"silent\": 12", "\"silent\": []",
       "sessions[0].silent: expected a whole number from 0 to 1000000000, found []"},
      {"20000", "1023", "pinholes[0].port: expected a whole number from 1024 to 65535, found 1023"},
      {"20000", "65536", "pinholes[0].port: expected a whole number from 1024 to 65535, found 65536"},
      {"\"direct\"", "\"\"", "pinholes[0].reason: expected a short text, found \"\""},
      {"\"direct\"", "\"\\u001b[31m\"", "pinholes[0].reason: expected a short text, found \"\\u001b[31m\""},
      {"\"direct\"", "\"\xff\"", "line 14: expected JSON"},
      {"\"owner\": {\"client\": \"192.168.1.20:40001\"", "\"owner\": {\"client\": \"192.168.1.20:40009\"",
       "pinholes[0].owner: expected one of the sessions, found "
       "{\"client\":\"192.168.1.20:40009\",\"server\":\"192.0.2.5:5190\"}"},
      {"{\"client\": \"192.168.1.20\",", "{\"client\": \"192.168.1.21\",",
       "pinholes[0].client: expected its owner's address, found \"192.168.1.21\""},
      {"\"port\": 20000, \"uin\": 100003", "\"port\": 20000, \"uin\": 100004",
       "pinholes[0].uin: expected its owner's, found 100004"},
      {"\"owner\": {\"client\"", "\"owner\": 1, \"x\": {\"client\"",
       "pinholes[0].owner: expected an object, found 1"},
  }));
  CAPTURE(piece, other);
  CHECK(fault(with(piece, other)) == said);
}

TEST_CASE("a state file cut anywhere is refused", "[daemon][state]") {
  const std::string_view text = kText;
  for (std::size_t cut = 0; cut + 2 < text.size(); ++cut) CHECK(fault(text.substr(0, cut)) != "none");
  CHECK(fault(text.substr(0, text.size() - 1)) == "none");  // without its last line's end
  CHECK(fault("") == "line 1: expected JSON");
  CHECK(fault("[]") == "expected an object, found []");
  CHECK(fault(std::string{text} + "x") == "line 17: expected JSON");
  CHECK(fault(std::string{text} + '\0') == "line 17: expected JSON, found a zero byte");
}

TEST_CASE("a flipped bit is refused or says something that could have been saved", "[daemon][state]") {
  const std::string text = kText;
  std::size_t taken = 0;
  for (std::size_t i = 0; i < text.size() * 8; ++i) {
    std::string flipped = text;
    flipped[i / 8] = static_cast<char>(flipped[i / 8] ^ 1 << i % 8);
    const auto saved = daemon::decode_state(flipped, kThen);
    if (!saved) {
      CHECK(saved.error().find('\n') == std::string::npos);
      continue;
    }
    ++taken;
    CHECK(daemon::decode_state(daemon::encode_state(*saved, kThen), kThen).value() == *saved);
  }
  CHECK(taken > 0);
  CHECK(taken < text.size());
}

TEST_CASE("a state file made to be large is refused before it is", "[daemon][state]") {
  CHECK(fault(std::string(8'000'000, '[')) == "lists and objects within each other: expected at most 16");
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  CHECK(fault(objects) == "lists and objects within each other: expected at most 16");
  std::string zeros = "[0";
  for (int i = 0; i < 8'000'000; ++i) zeros += ",0";
  CHECK(fault(zeros + "]").starts_with("more than "));
  CHECK(fault(std::string(daemon::kMostStateBytes + 1, ' ')) == "longer than 67108864 bytes");

  Saved saved;
  for (std::uint32_t i = 0; i <= daemon::kMostSavedAddresses; ++i) {
    saved.addresses.push_back({"login.icq.com", Ipv4{i}, 1s, 1s});
  }
  CHECK(fault(daemon::encode_state(saved, kThen)) ==
        "addresses: expected at most 65536 entries, found 65537");
  saved.addresses.pop_back();
  CHECK(daemon::decode_state(daemon::encode_state(saved, kThen), kThen).value() == saved);
}

TEST_CASE("what can't be written as it is is still written as JSON", "[daemon][state]") {
  Saved saved;
  saved.addresses = {
      {"a\"\n\xff", *parse_address("192.0.2.5"), std::chrono::seconds::max(), std::chrono::seconds::min()}};
  const std::string text = daemon::encode_state(saved, Clock::time_point::min());
  CHECK(text.find(R"("a\"\n\ufffd")") != std::string::npos);
  CHECK(text.find("\"ttl_left\": 1000000000, \"age\": -1000000000") != std::string::npos);
  CHECK(text.find("\"saved_at\": 0,") != std::string::npos);
}
