// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/captured_answers.hpp"

#include <algorithm>

namespace icqgate::cli {

namespace {
// A capture is somebody else's bytes: bounds on what is kept of it.
constexpr std::size_t kMostNames = 100'000;
constexpr std::size_t kMostAddresses = 64;
}  // namespace

void CapturedAnswers::add(const dns::Answer& answer) {
  if (answer.truncated || answer.addresses.empty()) return;
  const dns::Query query{answer.question, answer.type};
  if (answers_.size() >= kMostNames && !answers_.contains(query)) return;
  const auto [at, fresh] = answers_.try_emplace(query, answer);
  if (fresh) return;
  auto& known = at->second.addresses;
  for (const auto& record : answer.addresses) {
    const auto same = std::find_if(known.begin(), known.end(),
                                   [&](const auto& other) { return other.address == record.address; });
    if (same == known.end() && known.size() < kMostAddresses) known.push_back(record);
  }
}

const dns::Answer* CapturedAnswers::find(const dns::Query& query) const {
  const auto found = answers_.find(query);
  return found == answers_.end() ? nullptr : &found->second;
}

}  // namespace icqgate::cli
