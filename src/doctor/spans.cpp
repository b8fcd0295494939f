// SPDX-License-Identifier: GPL-2.0-or-later
#include "doctor/spans.hpp"

#include <algorithm>

namespace icqgate::doctor {

Spans common(const Spans& one, const Spans& other) {
  Spans found;
  for (const Span& a : one)
    for (const Span& b : other)
      if (a.first <= b.last && b.first <= a.last)
        found.push_back({std::max(a.first, b.first), std::min(a.last, b.last)});
  std::sort(found.begin(), found.end(), [](const Span& a, const Span& b) { return a.first < b.first; });
  return found;
}

Truth inside(const Spans& traffic, Spans tested) {
  if (common(traffic, tested).empty()) return Truth::No;
  std::sort(tested.begin(), tested.end(), [](const Span& a, const Span& b) { return a.first < b.first; });
  for (const Span& span : traffic) {
    std::uint64_t next = span.first;  // the first not seen to be in `tested`
    for (const Span& one : tested)
      if (one.first <= next && one.last >= next) next = std::uint64_t{one.last} + 1;
    if (next <= span.last) return Truth::Some;
  }
  return Truth::Yes;
}

}  // namespace icqgate::doctor
