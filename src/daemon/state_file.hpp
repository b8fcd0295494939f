// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "engine/saved.hpp"

namespace icqgate::daemon {

// The text of the state file: JSON, one line per address, session and pinhole, to be read by people too. What
// it says beyond engine::Saved is when that was made, by the wall clock: the only one that a reboot leaves
// on.

// Longer ones are not read: 64 MiB hold some 200,000 sessions with a pinhole for every third.
inline constexpr std::size_t kMostStateBytes = 64 << 20;
// A list longer than these is refused.
inline constexpr std::size_t kMostSavedAddresses = 65536, kMostSavedSessions = 200'000,
                             kMostSavedPinholes = 65536;
// Of one session; further ones are not written.
inline constexpr std::size_t kMostSavedHosts = 8;
// Addresses of an older file are left out, and no age grows by more.
inline constexpr std::chrono::seconds kOldestState = std::chrono::days{7};
// What is written beside the three lists, and the bounds of times: 31 years for an age or a TTL, the last
// second of the year 9999 for a date.
inline constexpr std::string_view kStateFormat = "icqgate state";
inline constexpr std::int64_t kStateVersion = 1;
inline constexpr std::chrono::seconds kMostSavedSpan{1'000'000'000}, kMostSavedTime{253'402'300'799};

// Whole, within the bounds.
[[nodiscard]] std::int64_t seconds_since_1970(std::chrono::system_clock::time_point time);

[[nodiscard]] std::string encode_state(const engine::Saved& saved,
                                       std::chrono::system_clock::time_point saved_at);

// Any bytes have an answer: everything that was saved, or one sentence with the place and what was expected
// there. A file with one wrong entry is refused as a whole: it is not what encode_state() wrote, so nothing
// in it is known. (Keys that nobody knows are let pass, for a later version's sake.) Each pinhole has its
// session among those returned, is at its client, for its UIN. Whether all that still agrees with the
// configuration (networks, ports, private addresses) is not looked at here. The time since the file was made
// is added to each `age` and `silent` and taken from `ttl_left`. A file from the future counts as made now:
// the clock was set back, and how much is not known.
[[nodiscard]] Result<engine::Saved, std::string> decode_state(std::string_view text,
                                                              std::chrono::system_clock::time_point now);

}  // namespace icqgate::daemon
