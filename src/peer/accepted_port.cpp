// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>
#include <array>
#include <limits>

#include "peer/messages.hpp"

namespace icqgate::peer {
namespace {

// Offsets in this file count from the check code, as the n-offsets of protocol.md 6.7.
constexpr std::size_t kZerosAt = 10;
constexpr std::size_t kTypeAt = 22;
constexpr std::size_t kStatusAt = 24;
constexpr std::size_t kTextLengthAt = 28;
constexpr std::size_t kTextAt = 30;

constexpr std::uint8_t kChatType = 2;
constexpr std::uint8_t kFileType = 3;
constexpr std::uint8_t kPluginType = 0x1a;

using Guid = std::array<std::uint8_t, 16>;
constexpr Guid kFileGuid{0xf0, 0x2d, 0x12, 0xd9, 0x30, 0x91, 0xd3, 0x11,
                         0x8d, 0xd7, 0x00, 0x10, 0x4b, 0x06, 0x46, 0x2e};
constexpr Guid kChatGuid{0xbf, 0xf7, 0x20, 0xb2, 0x37, 0x8e, 0xd4, 0x11,
                         0xbd, 0x28, 0x00, 0x04, 0xac, 0x96, 0xd9, 0x05};
// Behind a plugin's length: GUID, function, name length, a name that may be empty, 15 bytes (5.6).
constexpr std::size_t kShortestPlugin = 16 + 2 + 4 + 15;

// A message from its check code on, of which only a part can be read. Reading checks no bounds: callers do.
class Message {
 public:
  explicit Message(Bytes bytes) noexcept : bytes_{bytes} {
    // Groups of four from offset 4 on are scrambled while their offset is below (n + 3) / 4.
    const std::size_t end = (bytes.size() + 3) / 4;
    clear_ = std::max<std::size_t>(4, (end + 3) / 4 * 4);
  }

  [[nodiscard]] std::size_t size() const noexcept { return bytes_.size(); }
  // Everything from here on is as the client wrote it.
  [[nodiscard]] std::size_t clear() const noexcept { return clear_; }
  [[nodiscard]] bool readable(std::size_t at) const noexcept { return at >= clear_; }

  [[nodiscard]] std::uint8_t u8(std::size_t at) const noexcept {
    return std::to_integer<std::uint8_t>(bytes_[at]);
  }
  [[nodiscard]] std::uint16_t u16le(std::size_t at) const noexcept {
    return static_cast<std::uint16_t>(u8(at) | u8(at + 1) << 8);
  }
  [[nodiscard]] std::uint16_t u16be(std::size_t at) const noexcept {
    return static_cast<std::uint16_t>(u8(at) << 8 | u8(at + 1));
  }
  [[nodiscard]] std::uint32_t u32le(std::size_t at) const noexcept {
    return u16le(at) | static_cast<std::uint32_t>(u16le(at + 2)) << 16;
  }
  // Whether a u32 LE of this value can stand there: what of it is scrambled may be anything.
  [[nodiscard]] bool may_be_u32le(std::size_t at, std::size_t value) const noexcept {
    for (std::size_t i = 0; i < 4; ++i)
      if (readable(at + i) && u8(at + i) != (value >> (8 * i) & 0xff)) return false;
    return true;
  }

 private:
  Bytes bytes_;
  std::size_t clear_;
};

struct Tail {
  std::size_t start;  // of the fields of 5.6, type 3 or type 2, which stand behind the text or the plugin
  std::size_t port_at;
  bool chat;
};

// Text that may end with a NUL but holds none before.
bool is_text(const Message& message, std::size_t from, std::size_t to) noexcept {
  for (std::size_t at = from; at + 1 < to; ++at)
    if (message.u8(at) == 0) return false;
  return true;
}

// Types 2 and 3: the text runs from offset 30 up to the fields.
bool behind_text(const Message& message, const Tail& tail) noexcept {
  if (message.readable(kTypeAt) && message.u8(kTypeAt) != (tail.chat ? kChatType : kFileType)) return false;
  if (message.readable(kTextLengthAt))
    return kTextAt + message.u16le(kTextLengthAt) == tail.start && is_text(message, kTextAt, tail.start);
  return is_text(message, std::max(kTextAt, message.clear()), tail.start);
}

// The plugin block ends where the remaining length stands.
bool plugin_ends_at(const Message& message, std::size_t end, bool chat) noexcept {
  if (!message.readable(kTextLengthAt)) return true;
  const std::size_t at = kTextAt + message.u16le(kTextLengthAt);
  if (at + 2 + kShortestPlugin > end || at + 2 + message.u16le(at) != end) return false;
  const Guid& guid = chat ? kChatGuid : kFileGuid;
  for (std::size_t i = 0; i < guid.size(); ++i)
    if (message.u8(at + 2 + i) != guid[i]) return false;
  return true;
}

// Type 0x1A: plugin block, u32 remaining length, u32 description length, description, then the fields.
bool behind_plugin(const Message& message, const Tail& tail) noexcept {
  if (message.readable(kTypeAt) && message.u8(kTypeAt) != kPluginType) return false;
  constexpr std::size_t kEarliest = kTextAt + 2 + kShortestPlugin;
  for (std::size_t length = 0; kEarliest + 8 + length <= tail.start; ++length) {
    const std::size_t description = tail.start - length;
    if (length > 1 && message.readable(description) && message.u8(description) == 0) return false;
    const std::size_t length_at = description - 4;
    if (message.may_be_u32le(length_at, length) &&
        message.may_be_u32le(length_at - 4, message.size() - length_at) &&
        plugin_ends_at(message, length_at - 4, tail.chat))
      return true;
  }
  return false;
}

// The file's or the chat's fields at the end of the message.
std::optional<Tail> find_tail(const Message& message, bool chat, std::uint16_t port) noexcept {
  constexpr std::size_t kLongest = 255;
  constexpr std::size_t kPortAndPad = 4;
  // Eight bytes follow the LNTS of either kind.
  const std::size_t end = message.size() - 8;
  const std::size_t before = 2 + (chat ? 0 : kPortAndPad);  // bytes of the fields before the LNTS's text
  const std::size_t earliest = std::max(kTextAt, message.clear()) + before;
  if (end <= earliest || message.u8(end - 1) != 0) return std::nullopt;
  // Its text begins behind the next NUL, which is the upper half of its length: so there is but one reading.
  std::size_t text = end - 1;
  while (text >= earliest && message.u8(text - 1) != 0) --text;
  if (text < earliest || end - text > kLongest || message.u16le(text - 2) != end - text) return std::nullopt;
  const Tail tail{text - before, chat ? end : text - before, chat};
  if (message.u16be(tail.port_at) != port || message.u16le(tail.port_at + 2) != 0) return std::nullopt;
  if (!behind_text(message, tail) && !behind_plugin(message, tail)) return std::nullopt;
  return tail;
}

std::optional<AcceptedPort> read_accept(Bytes bytes, std::size_t marker) noexcept {
  constexpr std::size_t kShortest = kTextAt + 3 + 8;  // a chat's, with no text and an empty LNTS
  const Message message{bytes};
  if (message.size() < kShortest) return std::nullopt;
  for (std::size_t at = std::max(kZerosAt, message.clear()); at < kTypeAt; ++at)
    if (message.u8(at) != 0) return std::nullopt;
  if (message.readable(kStatusAt) && message.u16le(kStatusAt) != 0) return std::nullopt;
  const std::size_t last = message.size() - 4;
  const std::uint32_t port = message.u32le(last);
  if (port < 1024 || port > std::numeric_limits<std::uint16_t>::max()) return std::nullopt;
  for (const bool chat : {false, true}) {
    const auto tail = find_tail(message, chat, static_cast<std::uint16_t>(port));
    if (!tail) continue;
    return AcceptedPort{Port{static_cast<std::uint16_t>(port)}, chat,
                        static_cast<std::uint16_t>(marker + tail->port_at),
                        static_cast<std::uint16_t>(marker + last)};
  }
  return std::nullopt;
}

}  // namespace

std::optional<AcceptedPort> accepted_port(Bytes body) noexcept {
  if (body.empty() || body.size() > PacketReader::kMost) return std::nullopt;
  if (body.front() != std::byte{2}) return read_accept(body, 0);
  if (const auto accept = read_accept(body.subspan(1), 1)) return accept;
  // Version 6 has no 02 in front, and its check code may begin with one. That this is no message of version 7
  // shows only where the fields in front can be read.
  return Message{body}.readable(kTextLengthAt) ? read_accept(body, 0) : std::nullopt;
}

}  // namespace icqgate::peer
