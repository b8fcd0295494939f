// SPDX-License-Identifier: GPL-2.0-or-later
#include "config/restart.hpp"

#include <catch2/catch.hpp>

using namespace icqgate;
using namespace icqgate::config;

TEST_CASE("which keys need a restart", "[config]") {
  const auto keys = [](std::string_view text) {
    const auto now = parse("", "");
    const auto next = parse(text, "c");
    REQUIRE(now);
    REQUIRE(next);
    return restart_keys(*now, *next);
  };
  using Keys = std::vector<std::string_view>;
  CHECK(keys("").empty());
  CHECK(keys("login-host = a.example\nlogin-port = 443\nserver-port = 444\nlan = l0\nwan = w0\nclient = "
             "10.0.0.0/8\n"
             "port-range = 3000-3010\nport-deny = 3001\nports-per-client = 1\nresolver = 192.0.2.1\n"
             "queries-per-minute = 1\nhold-answers = no\ndns-server = 192.0.2.2\nttl-min = 1\nttl-max = "
             "2\nkeep = 3\n"
             "addresses-per-name = 1\naddresses-total = 2\noutbound = check\ndc-type = 4\npeer-check = log\n"
             "check-cookie = no\nallow-old-versions = no\npinhole-timeout = 1\nsession-idle = "
             "1\nflush-on-exit = yes\n")
            .empty());
  CHECK(keys("masquerade = yes") == Keys{"masquerade"});
  CHECK(keys("table = x\npriority = 0\nmark-mask = 3\nqueue-control = 1\nqueue-peer = 2\nqueue-names = "
             "3\nowner = yes\n"
             "timeout-update = replace\nsocket = /s\nstate = none") ==
        Keys{"table", "priority", "mark-mask", "queue-control", "queue-peer", "queue-names", "owner",
             "timeout-update", "socket", "state"});
}
