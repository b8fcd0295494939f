// SPDX-License-Identifier: GPL-2.0-or-later
#include "daemon/json_shape.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>
#include <vector>

namespace icqgate::daemon {

namespace {

using nlohmann::json;

std::size_t line_of(std::string_view text, std::size_t position) {
  const auto before = text.substr(0, std::min(position, text.size()));
  return 1 + static_cast<std::size_t>(std::count(before.begin(), before.end(), '\n'));
}

// Sees the tokens go by and builds nothing. Stops the parser at the first fault.
class Shape : public nlohmann::json_sax<json> {
 public:
  Shape(std::string_view text, const JsonLimits& limits) : text_{text}, limits_{limits} {}
  [[nodiscard]] std::string fault() && { return std::move(fault_); }

  bool null() override { return value(); }
  bool boolean(bool) override { return value(); }
  bool number_integer(number_integer_t) override { return value(); }
  bool number_unsigned(number_unsigned_t) override { return value(); }
  bool number_float(number_float_t, const string_t&) override { return value(); }
  bool string(string_t&) override { return value(); }
  bool binary(binary_t&) override { return value(); }
  bool start_object(std::size_t) override { return open(); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    if (keys_.back().insert(name).second) return true;
    fault_ = fmt::format("key {} is there twice in one object",
                         json(name.substr(0, 40)).dump(-1, ' ', true, json::error_handler_t::replace));
    return false;
  }
  bool parse_error(std::size_t position, const std::string&, const json::exception&) override {
    fault_ = fmt::format("line {}: expected JSON", line_of(text_, position));
    return false;
  }

 private:
  bool open() {
    if (keys_.size() == limits_.depth) {
      fault_ = fmt::format("lists and objects within each other: expected at most {}", limits_.depth);
      return false;
    }
    keys_.emplace_back();
    return value();
  }
  bool close() {
    keys_.pop_back();
    return true;
  }
  bool value() {
    if (++values_ <= limits_.values) return true;
    fault_ = fmt::format("more than {} values", limits_.values);
    return false;
  }

  std::string_view text_;
  const JsonLimits& limits_;
  std::vector<std::set<std::string>> keys_;  // of the objects around
  std::size_t values_ = 0;
  std::string fault_;
};

}  // namespace

std::optional<std::string> json_fault(std::string_view text, const JsonLimits& limits) {
  // The parser takes it for the end, and would let anything behind it pass unread.
  if (const auto nul = text.find('\0'); nul != std::string_view::npos) {
    return fmt::format("line {}: expected JSON, found a zero byte", line_of(text, nul));
  }
  Shape shape{text, limits};
  if (json::sax_parse(text, &shape)) return std::nullopt;
  return std::move(shape).fault();
}

}  // namespace icqgate::daemon
