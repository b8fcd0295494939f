// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "net/address.hpp"

namespace icqgate::dns {

// A domain name in presentation form, lower case, without the trailing dot. Only letters, digits, '-' and '_'
// are kept apart from dots; 1..253 characters, labels of 1..63. (Names with other bytes are valid DNS but
// name no host.)
using DomainName = std::string;
[[nodiscard]] std::optional<DomainName> parse_name(std::string_view text);

enum class Type : std::uint16_t { A = 1, Cname = 5, Aaaa = 28 };
enum class Rcode : std::uint8_t {
  NoError = 0,
  FormErr = 1,
  ServFail = 2,
  NxDomain = 3,
  NotImp = 4,
  Refused = 5
};

struct AddressRecord {
  IpAddress address;
  std::chrono::seconds ttl;  // least TTL along the CNAME chain to it
  friend bool operator==(const AddressRecord&, const AddressRecord&) = default;
};

// A response, reduced to what names to addresses need (RFC 1035 4.1, RFC 2181 8: a TTL with the top bit set
// is 0).
struct Answer {
  std::uint16_t id = 0;
  DomainName question;     // owner name asked for
  Type type = Type::A;     // A or AAAA
  std::uint8_t rcode = 0;  // see Rcode
  bool truncated = false;  // TC
  std::vector<AddressRecord>
      addresses;  // of the question's type, reached from the question through CNAMEs only
  std::chrono::seconds negative_ttl{
      0};  // NXDOMAIN and NODATA: from the SOA in the authority section (RFC 2308), else 0
};

enum class MessageError {
  Truncated,
  Malformed,
  NotResponse,
  OtherQuestion
};  // OtherQuestion: not one A/AAAA IN

// Total: every input has an answer; compression pointers only backwards, bounded; records whose owner is not
// on the chain from the question are ignored; a CNAME loop ends the chain without addresses.
[[nodiscard]] Result<Answer, MessageError> parse_answer(Bytes message);

}  // namespace icqgate::dns
