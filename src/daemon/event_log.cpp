// SPDX-License-Identifier: GPL-2.0-or-later
#include "daemon/event_log.hpp"

#include "sys/log.hpp"

namespace icqgate::daemon {

namespace {

sys::LogLevel level_of(engine::What what) {
  using engine::What;
  switch (what) {
    case What::AddressRefused:
    case What::AnswerCut:
    case What::NameUnresolved:
      return sys::LogLevel::Warning;
    case What::LookupFailed:
    case What::NameResolved:
    case What::PinholeOpened:
    case What::PinholeClosed:
    case What::AnnounceRefused:
    case What::PeerRefused:
    case What::OutboundRefused:
    case What::RedirectRefused:
      return sys::LogLevel::Notice;
    case What::ControlOpened:
    case What::LoginSeen:
    case What::PinholeProbation:
      return sys::LogLevel::Debug;
    default:
      return sys::LogLevel::Info;
  }
}

}  // namespace

void EventLog::write(const engine::Report& report, engine::TimePoint now) {
  const auto level = level_of(report.what);
  if (!sys::logs(level)) return;
  if (now - second_ >= std::chrono::seconds{1}) {
    if (left_out_ > 0) sys::log_notice("{} more lines like these were left out", left_out_);
    second_ = now;
    written_ = {};
    left_out_ = 0;
  }
  if (++written_[level <= sys::LogLevel::Warning ? 1 : 0] > kPerSecond) {
    ++left_out_;
    return;
  }
  sys::log(level, engine::describe(report));
}

}  // namespace icqgate::daemon
