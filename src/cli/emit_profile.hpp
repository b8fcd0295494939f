// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "cli/arguments.hpp"
#include "config/config.hpp"
#include "nft/static_ruleset.hpp"

namespace icqgate::cli {

struct ProfileWords {
  std::string_view name;
  std::optional<nft::Profile> profile;  // none: dynamic
  std::string_view what;
};
[[nodiscard]] std::span<const ProfileWords> profiles() noexcept;
[[nodiscard]] const ProfileWords* find_profile(std::string_view name) noexcept;  // nullptr: there is none
// "dynamic, direct, range ... or https"
[[nodiscard]] std::string profile_names();

inline constexpr std::uint32_t kMostPorts = 1000;  // opened without --wide (security.md S24)

// What of the command line does not go with the profile, or is missing for it, in one line; nullopt: nothing.
// A key that stands in the configuration file only is not looked at: the file serves `run` as well.
[[nodiscard]] std::optional<std::string> misfit(const ProfileWords& profile, const config::Config& config,
                                                const Arguments& given);

// "profile range opens 100 ports (20000-20099) for 256 clients"; "" if it opens none.
[[nodiscard]] std::string opened_in_words(const ProfileWords& profile, const config::Config& config);

// "1,001"
[[nodiscard]] std::string thousands(std::uint64_t number);

}  // namespace icqgate::cli
