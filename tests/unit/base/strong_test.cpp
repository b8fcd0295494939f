// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/strong.hpp"

#include <catch2/catch.hpp>
#include <string>
#include <type_traits>
#include <unordered_set>

#include "base/result.hpp"

using namespace icqgate;

namespace {

using Apples = Strong<struct ApplesTag, std::uint32_t>;

static_assert(!std::is_convertible_v<std::uint32_t, Uin>, "a bare number is no Uin");
static_assert(!std::is_convertible_v<Uin, std::uint32_t>, "a Uin is no bare number");
static_assert(!std::is_constructible_v<Uin, Apples>, "one meaning does not turn into another");
static_assert(sizeof(Uin) == sizeof(std::uint32_t));
static_assert(std::is_trivially_copyable_v<Uin>);

enum class Why { Broken, Absent };

[[nodiscard]] Result<std::string, Why> answer(bool works) {
  if (!works) return tl::make_unexpected(Why::Absent);
  return std::string{"yes"};
}

}  // namespace

TEST_CASE("strong numbers compare by value", "[base][strong]") {
  CHECK(Uin{1} < Uin{2});
  CHECK(Uin{4294967295U} > Uin{1});
  CHECK(Uin{100001} == Uin{100001});
  CHECK(Uin{}.get() == 0);
  constexpr Uin uin{100001};
  static_assert(uin.get() == 100001);
}

TEST_CASE("strong numbers are keys", "[base][strong]") {
  std::unordered_set<Uin> seen;
  CHECK(seen.insert(Uin{7}).second);
  CHECK_FALSE(seen.insert(Uin{7}).second);
  CHECK(seen.insert(Uin{8}).second);
}

TEST_CASE("a result holds a value or the reason", "[base][result]") {
  CHECK(answer(true) == std::string{"yes"});
  const auto failed = answer(false);
  REQUIRE_FALSE(failed);
  CHECK(failed.error() == Why::Absent);
  CHECK(answer(true).map([](const std::string& text) { return text.size(); }) == 3U);
}
