// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <map>
#include <optional>

#include "dns/schedule.hpp"

namespace icqgate::cli {

// The DNS answers of a whole capture, which stand for those of the gateway's resolver. A running service asks
// by itself, before the client does; so its answer is found whatever the place in the capture, and holds all
// addresses that the name had in it.
class CapturedAnswers {
 public:
  void add(const dns::Answer& answer);
  [[nodiscard]] const dns::Answer* find(const dns::Query& query) const;

 private:
  std::map<dns::Query, dns::Answer> answers_;
};

}  // namespace icqgate::cli
