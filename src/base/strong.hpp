// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace icqgate {

// A number with a meaning: no arithmetic, no implicit conversion. A Uin never lands in a Port.
template <class Tag, class Rep>
class Strong {
 public:
  using rep = Rep;
  constexpr Strong() noexcept = default;
  constexpr explicit Strong(Rep value) noexcept : value_{value} {}
  [[nodiscard]] constexpr Rep get() const noexcept { return value_; }
  friend constexpr auto operator<=>(const Strong&, const Strong&) noexcept = default;

 private:
  Rep value_{};
};

// An ICQ user's number. 0 is never a user. ASCII digits in OSCAR, u32 little endian between peers.
using Uin = Strong<struct UinTag, std::uint32_t>;

}  // namespace icqgate

template <class Tag, class Rep>
struct std::hash<icqgate::Strong<Tag, Rep>> {
  std::size_t operator()(const icqgate::Strong<Tag, Rep>& strong) const noexcept {
    return std::hash<Rep>{}(strong.get());
  }
};
