// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"

namespace icqgate::dns::test {

// Writes a DNS message section by section: MessageBuilder{}.question("a.test", 1).answer("a.test", 1, 60,
// v4(...)). Names are written uncompressed, save for "@12"-like ones: a pointer to that offset.
class MessageBuilder {
 public:
  explicit MessageBuilder(std::uint16_t id = 0x1234) : id_{id} {}

  MessageBuilder& flags(std::uint16_t value) {
    flags_ = value;
    return *this;
  }
  MessageBuilder& rcode(std::uint16_t value) { return flags(static_cast<std::uint16_t>(0x8180U | value)); }
  MessageBuilder& question(std::string_view name, std::uint16_t type = 1, std::uint16_t question_class = 1) {
    write_name(body_, name);
    body_.u16be(type).u16be(question_class);
    ++counts_[0];
    return *this;
  }
  MessageBuilder& answer(std::string_view owner, std::uint16_t type, std::uint32_t ttl, Bytes data,
                         std::uint16_t record_class = 1) {
    ++counts_[1];
    return record(owner, type, ttl, data, record_class);
  }
  MessageBuilder& authority(std::string_view owner, std::uint16_t type, std::uint32_t ttl, Bytes data) {
    ++counts_[2];
    return record(owner, type, ttl, data, 1);
  }
  MessageBuilder& a(std::string_view owner, std::uint32_t ttl, std::uint32_t address) {
    ByteWriter data;
    data.u32be(address);
    return answer(owner, 1, ttl, data.view());
  }
  MessageBuilder& aaaa(std::string_view owner, std::uint32_t ttl, std::uint8_t last) {
    ByteWriter data;
    data.u32be(0x20010db8).u32be(0).u32be(0).u32be(last);
    return answer(owner, 28, ttl, data.view());
  }
  MessageBuilder& cname(std::string_view owner, std::uint32_t ttl, std::string_view target) {
    ByteWriter data;
    write_name(data, target);
    return answer(owner, 5, ttl, data.view());
  }
  MessageBuilder& soa(std::string_view zone, std::uint32_t ttl, std::uint32_t minimum) {
    ByteWriter data;
    write_name(data, "ns.test");
    write_name(data, "root.test");
    data.u32be(1).u32be(2).u32be(3).u32be(4).u32be(minimum);
    return authority(zone, 6, ttl, data.view());
  }
  // Bytes as they are, counted as one more record of the answer section.
  MessageBuilder& raw_answer(std::initializer_list<std::uint8_t> bytes) {
    for (const auto byte : bytes) body_.u8(byte);
    ++counts_[1];
    return *this;
  }
  MessageBuilder& count(std::size_t section, std::uint16_t value) {
    counts_[section] = value;
    return *this;
  }
  [[nodiscard]] std::size_t size() const { return 12 + body_.size(); }

  [[nodiscard]] std::vector<std::byte> build() const {
    ByteWriter message;
    message.u16be(id_).u16be(flags_);
    for (const auto value : counts_) message.u16be(value);
    message.bytes(body_.view());
    return std::move(message).release();
  }

  static void write_name(ByteWriter& to, std::string_view name) {
    if (name.starts_with('@')) {
      to.u16be(static_cast<std::uint16_t>(0xc000 | std::stoi(std::string{name.substr(1)})));
      return;
    }
    while (!name.empty()) {
      const auto label = name.substr(0, name.find('.'));
      to.u8(static_cast<std::uint8_t>(label.size())).text(label);
      name.remove_prefix(std::min(name.size(), label.size() + 1));
    }
    to.u8(0);
  }

 private:
  MessageBuilder& record(std::string_view owner, std::uint16_t type, std::uint32_t ttl, Bytes data,
                         std::uint16_t record_class) {
    write_name(body_, owner);
    body_.u16be(type)
        .u16be(record_class)
        .u32be(ttl)
        .u16be(static_cast<std::uint16_t>(data.size()))
        .bytes(data);
    return *this;
  }

  std::uint16_t id_;
  std::uint16_t flags_ = 0x8180;  // response, recursion desired and available
  std::uint16_t counts_[4]{};
  ByteWriter body_;
};

}  // namespace icqgate::dns::test
