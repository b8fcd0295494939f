// SPDX-License-Identifier: GPL-2.0-or-later
#include "dns/message.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <numeric>
#include <utility>

namespace icqgate::dns {
namespace {

constexpr std::size_t kHeaderSize = 12;
constexpr std::size_t kMostMessage = 65535;  // the length field of DNS over TCP ends here
constexpr std::size_t kMostName = 255;       // RFC 1035 2.3.4, counted on the wire with the root label
constexpr std::size_t kMostLabel = 63;
constexpr int kMostJumps = 128;
constexpr int kMostLinks = 16;
constexpr std::uint16_t kClassIn = 1;
constexpr std::uint16_t kTypeSoa = 6;
constexpr std::size_t kSoaNumbers = 20;  // serial, refresh, retry, expire, minimum

constexpr char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

constexpr bool host_character(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

// A name as on the wire but uncompressed and in lower case (length, label, ..., 0): two spellings of one
// owner are equal, and bytes that no host name has (even dots inside a label) stay what they are.
using WireName = std::string;

struct Record {
  WireName owner;
  std::uint16_t type = 0;
  std::uint16_t record_class = 0;
  std::chrono::seconds ttl{0};
  std::size_t data_at = 0;  // offset in the message, where a compressed name inside is read
  Bytes data;
};

// RFC 2181 8: 31 bits; with the top bit set it counts as zero.
constexpr std::chrono::seconds ttl_of(std::uint32_t value) noexcept {
  return std::chrono::seconds{value > 0x7fffffffU ? 0U : value};
}

// Walks a message from its start. Every read is bounded by what is there.
class MessageReader {
 public:
  explicit MessageReader(Bytes message) noexcept : message_{message} {}

  [[nodiscard]] Bytes rest() const noexcept { return message_.subspan(at_); }

  void skip(std::size_t count) noexcept { at_ += std::min(count, message_.size() - at_); }
  void move_to(std::size_t at) noexcept { at_ = std::min(at, message_.size()); }
  [[nodiscard]] std::size_t at() const noexcept { return at_; }

  // RFC 1035 4.1.4. A pointer has to lead before the start of the run of labels it ends: that alone rules out
  // loops; the number of jumps bounds the work one name may cause.
  [[nodiscard]] Result<WireName, MessageError> name() {
    WireName name;
    std::size_t at = at_;
    std::size_t run = at_;
    int jumps = 0;
    for (;;) {
      if (at >= message_.size()) return tl::make_unexpected(MessageError::Truncated);
      const auto length = std::to_integer<std::size_t>(message_[at]);
      if (length >= 0xc0) {
        if (at + 1 >= message_.size()) return tl::make_unexpected(MessageError::Truncated);
        const std::size_t target = (length & 0x3f) << 8 | std::to_integer<std::size_t>(message_[at + 1]);
        if (jumps == 0) at_ = at + 2;
        if (target >= run || target < kHeaderSize || ++jumps > kMostJumps)
          return tl::make_unexpected(MessageError::Malformed);
        at = run = target;
        continue;
      }
      if (length > kMostLabel) return tl::make_unexpected(MessageError::Malformed);
      name.push_back(static_cast<char>(length));
      if (name.size() + length > kMostName) return tl::make_unexpected(MessageError::Malformed);
      ++at;
      if (length == 0) break;
      if (length > message_.size() - at) return tl::make_unexpected(MessageError::Truncated);
      for (const char c : as_text(message_.subspan(at, length))) name.push_back(lower(c));
      at += length;
    }
    if (jumps == 0) at_ = at;
    return name;
  }

  // RFC 1035 4.1.3: owner | type u16 | class u16 | TTL u32 | data size u16 | data
  [[nodiscard]] Result<Record, MessageError> record() {
    auto owner = name();
    if (!owner) return tl::make_unexpected(owner.error());
    ByteReader reader{rest()};
    const auto type = reader.u16be();
    const auto record_class = reader.u16be();
    const auto ttl = reader.u32be();
    const auto size = reader.u16be();
    if (!type || !record_class || !ttl || !size) return tl::make_unexpected(MessageError::Truncated);
    const auto data = reader.take(*size);
    if (!data) return tl::make_unexpected(MessageError::Truncated);
    const std::size_t data_at = message_.size() - reader.rest().size() - *size;
    at_ = data_at + *size;
    return Record{std::move(*owner), *type, *record_class, ttl_of(*ttl), data_at, *data};
  }

 private:
  Bytes message_;
  std::size_t at_ = 0;
};

// nullopt: the root, or a name with bytes that no host name has.
std::optional<DomainName> host_name(const WireName& wire) {
  DomainName name;
  for (std::size_t at = 0; at < wire.size() && wire[at] != 0;) {
    const auto length = static_cast<unsigned char>(wire[at]);
    const auto label = std::string_view{wire}.substr(at + 1, length);
    if (!std::ranges::all_of(label, host_character)) return std::nullopt;
    if (!name.empty()) name.push_back('.');
    name.append(label);
    at += 1U + length;
  }
  if (name.empty()) return std::nullopt;
  return name;
}

bool is_within(const WireName& name, const WireName& zone) {
  for (std::size_t at = 0; at < name.size(); at += 1U + static_cast<unsigned char>(name[at]))
    if (std::string_view{name}.substr(at) == zone) return true;
  return false;
}

struct Link {
  WireName target;
  std::chrono::seconds ttl;
};

// The answer section's records that may matter: aliases by owner, and addresses of the type asked for.
struct AnswerSection {
  std::map<WireName, Link> aliases;
  std::vector<std::pair<WireName, AddressRecord>> addresses;
};

std::optional<IpAddress> address_of(const Record& record, Type type) noexcept {
  if (record.type != static_cast<std::uint16_t>(type)) return std::nullopt;
  if (type == Type::A) {
    ByteReader reader{record.data};
    const auto value = reader.u32be();
    if (!value || !reader.empty()) return std::nullopt;
    return Ipv4{*value};
  }
  std::array<std::uint8_t, 16> bytes{};
  if (record.data.size() != bytes.size()) return std::nullopt;
  std::ranges::transform(record.data, bytes.begin(),
                         [](std::byte b) { return std::to_integer<std::uint8_t>(b); });
  return Ipv6{bytes};
}

Result<AnswerSection, MessageError> read_answers(MessageReader& reader, Bytes message, std::size_t count,
                                                 Type type) {
  AnswerSection section;
  for (std::size_t i = 0; i < count; ++i) {
    auto record = reader.record();
    if (!record) return tl::make_unexpected(record.error());
    if (record->record_class != kClassIn) continue;
    if (record->type == static_cast<std::uint16_t>(Type::Cname)) {
      MessageReader inner{message};
      inner.move_to(record->data_at);
      auto target = inner.name();
      if (!target) return tl::make_unexpected(target.error());
      if (inner.at() != record->data_at + record->data.size())
        return tl::make_unexpected(MessageError::Malformed);
      // One owner has one alias (RFC 2181 10.1); of several the first counts.
      section.aliases.try_emplace(std::move(record->owner), Link{std::move(*target), record->ttl});
    } else if (const auto address = address_of(*record, type)) {
      section.addresses.emplace_back(std::move(record->owner), AddressRecord{*address, record->ttl});
    }
  }
  return section;
}

// Where the aliases lead from the question, and the least TTL on the way. nullopt: too far, or in a circle.
std::optional<Link> follow(const std::map<WireName, Link>& aliases, const WireName& question) {
  Link end{question, std::chrono::seconds::max()};
  for (int links = 0; links <= kMostLinks; ++links) {
    const auto next = aliases.find(end.target);
    if (next == aliases.end()) return end;
    end = {next->second.target, std::min(end.ttl, next->second.ttl)};
  }
  return std::nullopt;
}

// A record that comes twice counts once, at its first place, with the lesser TTL.
std::vector<AddressRecord> addresses_at(const AnswerSection& section, const Link& end) {
  std::vector<AddressRecord> found;
  found.reserve(section.addresses.size());
  for (const auto& [owner, record] : section.addresses)
    if (owner == end.target) found.push_back({record.address, std::min(record.ttl, end.ttl)});

  std::vector<std::size_t> order(found.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&found](std::size_t at) { return found[at].address; });
  std::vector<bool> again(found.size());
  for (std::size_t i = 1, first = 0; i < order.size(); ++i) {
    if (found[order[i]].address != found[order[first]].address) {
      first = i;
      continue;
    }
    again[order[i]] = true;
    found[order[first]].ttl = std::min(found[order[first]].ttl, found[order[i]].ttl);
  }
  std::size_t kept = 0;
  for (std::size_t at = 0; at < found.size(); ++at)
    if (!again[at]) found[kept++] = found[at];
  found.resize(kept);
  return found;
}

// RFC 2308 5: the lesser of the SOA's own TTL and its last field. Only a zone that the name is in can say so.
Result<std::chrono::seconds, MessageError> read_negative_ttl(MessageReader& reader, Bytes message,
                                                             std::size_t count, const WireName& name) {
  std::optional<std::chrono::seconds> least;
  for (std::size_t i = 0; i < count; ++i) {
    const auto record = reader.record();
    if (!record) return tl::make_unexpected(record.error());
    if (record->type != kTypeSoa || record->record_class != kClassIn || !is_within(name, record->owner))
      continue;
    MessageReader inner{message};
    inner.move_to(record->data_at);
    for (int names = 0; names < 2; ++names)
      if (const auto skipped = inner.name(); !skipped) return tl::make_unexpected(skipped.error());
    if (inner.at() + kSoaNumbers != record->data_at + record->data.size())
      return tl::make_unexpected(MessageError::Malformed);
    inner.skip(kSoaNumbers - 4);
    const auto minimum = ttl_of(ByteReader{inner.rest()}.u32be().value_or(0));
    const auto ttl = std::min(record->ttl, minimum);
    least = std::min(ttl, least.value_or(ttl));
  }
  return least.value_or(std::chrono::seconds{0});
}

}  // namespace

std::optional<DomainName> parse_name(std::string_view text) {
  if (text.ends_with('.')) text.remove_suffix(1);
  if (text.empty() || text.size() > kMostName - 2) return std::nullopt;
  DomainName name{text};
  std::ranges::transform(name, name.begin(), lower);
  std::size_t label = 0;
  for (const char c : name) {
    if (c == '.') {
      if (label == 0) return std::nullopt;
      label = 0;
    } else if (!host_character(c) || ++label > kMostLabel) {
      return std::nullopt;
    }
  }
  if (label == 0) return std::nullopt;
  return name;
}

// RFC 1035 4.1.1, big-endian:
//   id u16 | QR 1 | opcode 4 | AA 1 | TC 1 | RD 1 | RA 1 | Z 3 | rcode 4 | question, answer, authority,
//   additional: u16
// then the sections. The additional section holds nothing that is used here and is not read.
Result<Answer, MessageError> parse_answer(Bytes message) {
  if (message.size() > kMostMessage) return tl::make_unexpected(MessageError::Malformed);
  ByteReader header{message};
  const auto id = header.u16be();
  const auto flags = header.u16be();
  const auto questions = header.u16be();
  const auto answers = header.u16be();
  const auto authorities = header.u16be();
  if (!header.u16be()) return tl::make_unexpected(MessageError::Truncated);
  if ((*flags & 0x8000) == 0 || (*flags & 0x7800) != 0) return tl::make_unexpected(MessageError::NotResponse);
  if (*questions != 1) return tl::make_unexpected(MessageError::OtherQuestion);

  MessageReader reader{message};
  reader.skip(kHeaderSize);
  const auto question = reader.name();
  if (!question) return tl::make_unexpected(question.error());
  ByteReader asked{reader.rest()};
  const auto type = asked.u16be();
  const auto question_class = asked.u16be();
  if (!question_class) return tl::make_unexpected(MessageError::Truncated);
  reader.skip(4);
  auto name = host_name(*question);
  const bool address_type =
      *type == static_cast<std::uint16_t>(Type::A) || *type == static_cast<std::uint16_t>(Type::Aaaa);
  if (!name || !address_type || *question_class != kClassIn)
    return tl::make_unexpected(MessageError::OtherQuestion);

  Answer answer;
  answer.id = *id;
  answer.question = std::move(*name);
  answer.type = static_cast<Type>(*type);
  answer.rcode = static_cast<std::uint8_t>(*flags & 0x0f);
  answer.truncated = (*flags & 0x0200) != 0;
  if (answer.truncated) return answer;  // RFC 2181 9: what is there is not to be used, and may end anywhere

  const auto section = read_answers(reader, message, *answers, answer.type);
  if (!section) return tl::make_unexpected(section.error());
  const auto end = follow(section->aliases, *question);
  const bool no_error = answer.rcode == static_cast<std::uint8_t>(Rcode::NoError);
  if (end && no_error) answer.addresses = addresses_at(*section, *end);

  const auto negative_ttl = read_negative_ttl(reader, message, *authorities, end ? end->target : *question);
  if (!negative_ttl) return tl::make_unexpected(negative_ttl.error());
  const bool negative = no_error || answer.rcode == static_cast<std::uint8_t>(Rcode::NxDomain);
  if (negative && answer.addresses.empty()) answer.negative_ttl = *negative_ttl;
  return answer;
}

}  // namespace icqgate::dns
