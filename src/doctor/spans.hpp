// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <vector>

namespace icqgate::doctor {

// How much of the traffic in question a test is true of. Unknown: it asks for something that is not known of
// that traffic (a rate, a set that changes by itself).
enum class Truth { No, Unknown, Some, Yes };

[[nodiscard]] constexpr Truth operator!(Truth truth) noexcept {
  return truth == Truth::Yes ? Truth::No : truth == Truth::No ? Truth::Yes : truth;
}
// Of two tests in one rule.
[[nodiscard]] constexpr Truth both(Truth one, Truth other) noexcept { return one < other ? one : other; }

// Ports, or IPv4 addresses, from first to last.
struct Span {
  std::uint32_t first, last;
  friend bool operator==(const Span&, const Span&) = default;
};
using Spans = std::vector<Span>;

[[nodiscard]] Truth inside(const Spans& traffic, Spans tested);
// The numbers that are in both.
[[nodiscard]] Spans common(const Spans& one, const Spans& other);

}  // namespace icqgate::doctor
