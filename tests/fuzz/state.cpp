// needs: daemon
// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "daemon/state_file.hpp"

namespace {

using namespace icqgate;
using std::chrono::seconds;

void require(bool holds) {
  if (!holds) std::abort();
}

void check_saved(const engine::Saved& saved) {
  for (const auto& address : saved.addresses) {
    require(!address.name.empty() && address.age >= seconds{0} && address.ttl_left <= daemon::kMostSavedSpan);
  }
  for (const auto& session : saved.sessions) {
    require(session.flow.inside.port != Port{0} && session.flow.outside.port != Port{0});
    require(session.flow.inside.address.is_v4() == session.flow.outside.address.is_v4());
    require(session.uin != Uin{0} && session.age >= seconds{0} && session.silent >= seconds{0});
  }
  for (const auto& pinhole : saved.pinholes) {
    require(pinhole.port >= Port{1024} && pinhole.uin != Uin{0} && pinhole.age >= seconds{0});
    require(pinhole.owner.inside.address == IpAddress{pinhole.client});
    require(std::any_of(saved.sessions.begin(), saved.sessions.end(), [&](const auto& session) {
      return session.flow == pinhole.owner && session.uin == pinhole.uin;
    }));
  }
}

}  // namespace

// The file's bytes. Whatever is taken can be saved and comes back as it was.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  const std::chrono::system_clock::time_point now{seconds{1'764'000'000}};
  for (const auto at : {now, now + std::chrono::hours{1}}) {
    const auto saved = daemon::decode_state(text, at);
    if (!saved) {
      require(!saved.error().empty() && saved.error().size() < 512);
      require(std::all_of(saved.error().begin(), saved.error().end(),
                          [](char c) { return c >= ' ' && c <= '~'; }));
      continue;
    }
    check_saved(*saved);
    const auto again = daemon::decode_state(daemon::encode_state(*saved, at), at);
    require(again && *again == *saved);
  }
  return 0;
}
