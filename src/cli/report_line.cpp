// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/report_line.hpp"

#include <fmt/chrono.h>

#include <cstdio>
#include <nlohmann/json.hpp>

namespace icqgate::cli {

namespace {

// What came from the network must not make lines of its own, nor reach the terminal as a command to it.
std::string printable(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return text;
}

std::string json_line(std::chrono::microseconds time, std::string_view event, const engine::Report& report) {
  nlohmann::ordered_json json;
  json["time"] = static_cast<double>(time.count()) / 1e6;
  json["event"] = event;
  if (report.client) json["client"] = to_string(*report.client);
  if (report.uin) json["uin"] = report.uin->get();
  if (report.port) json["port"] = report.port->get();
  if (report.remote) {
    json["remote"] = to_string(report.remote->address);
    if (report.remote->port != Port{0}) json["remote_port"] = report.remote->port.get();
  }
  if (report.peer_uin) json["peer_uin"] = report.peer_uin->get();
  if (report.version != 0) json["version"] = report.version;
  if (report.reason != engine::Reason::None) json["reason"] = to_string(report.reason);
  if (!report.text.empty()) json["text"] = report.text;
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

void ReportLines::write(std::chrono::microseconds time, std::string_view event, const std::string& sentence,
                        const engine::Report& report) {
  using std::chrono::days;
  using std::chrono::seconds;
  start(time);
  std::string line;
  if (form_ == Form::Json) {
    line = json_line(time, event, report);
  } else if (form_ == Form::RelativeText) {
    const auto since = time - *start_;
    line = fmt::format("{:>12}  {:<18} {}\n",
                       fmt::format("+{}.{:06}", since.count() / 1'000'000, since.count() % 1'000'000), event,
                       printable(sentence));
  } else {
    const auto day = std::chrono::duration_cast<days>(time);
    const auto of_day = time - day;
    if (day_ != day.count()) {
      day_ = day.count();
      const std::chrono::sys_time<seconds> midnight{day};
      line = fmt::format("{:%Y-%m-%d} UTC\n", midnight);
    }
    const auto whole = std::chrono::duration_cast<seconds>(of_day).count();
    line += fmt::format("{:02}:{:02}:{:02}.{:06}  {:<18} {}\n", whole / 3600, whole / 60 % 60, whole % 60,
                        of_day.count() % 1'000'000, event, printable(sentence));
  }
  std::fwrite(line.data(), 1, line.size(), stdout);
}

}  // namespace icqgate::cli
