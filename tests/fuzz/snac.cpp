// needs: oscar
// SPDX-License-Identifier: GPL-2.0-or-later
// SNAC, TLV and every parser of an OSCAR session, over one FLAP payload: nothing read outside it, and what
// the parsers say of each other agrees.
#include "oscar/snac.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "oscar/session.hpp"

namespace {

using namespace icqgate;
using namespace icqgate::oscar;

void require(bool holds) {
  if (!holds) std::abort();
}

bool lies_in(Bytes part, Bytes whole) {
  if (part.empty()) return true;
  const std::less_equal<const std::byte*> before;
  return before(whole.data(), part.data()) && before(part.data() + part.size(), whole.data() + whole.size());
}

std::string text_of(const Target& target) {
  const auto* name = std::get_if<std::string>(&target.host);
  std::string text = name ? *name : to_string(std::get<IpAddress>(target.host));
  if (target.port) text += ':' + std::to_string(target.port->get());
  return text;
}

void check_target(std::string_view text) {
  const auto target = parse_target(text);
  if (!target) return;
  require(!target->port || target->port->get() != 0);
  if (const auto* name = std::get_if<std::string>(&target->host)) {
    require(!name->empty() && name->size() <= 253 && name->front() != '.' && name->back() != '.');
    require(
        std::ranges::none_of(*name, [](char c) { return c <= ' ' || c > '~' || (c >= 'A' && c <= 'Z'); }));
    require(name->find_first_not_of("0123456789.") != std::string::npos);
  } else {
    require(std::get<IpAddress>(target->host).is_v4());
  }
  require(parse_target(text_of(*target)) == target);
}

void check_uin(std::string_view text) {
  const auto uin = parse_uin(text);
  if (!uin) return;
  require(uin->get() != 0);
  require(parse_uin(std::to_string(uin->get())) == uin);
  require(parse_uin(" 0" + std::to_string(uin->get()) + ' ') == uin);
}

void check_direct(const DirectInfo& info) {
  require(!info.port || (info.port->get() != 0 && !info.bad_port));
  if (info.all_zero) require(!info.port && !info.bad_port && info.type == 0 && info.cookie.value_or(0) == 0);
  if (!info.cookie) require(info.type == 0 && info.version == 0);
}

void check_user(const UserInfo& user) {
  if (user.uin) require(user.uin->get() != 0);
  if (user.direct) check_direct(*user.direct);
}

void check_tlvs(Bytes bytes) {
  TlvReader reader{bytes};
  std::size_t used = 0;
  while (const auto tlv = reader.next()) {
    require(lies_in(tlv->value, bytes));
    used += 4 + tlv->value.size();
    const auto first = find_tlv(bytes, tlv->type);
    require(first && lies_in(*first, bytes) && first->data() <= tlv->value.data());
    check_target(as_text(tlv->value));
    check_uin(as_text(tlv->value));
  }
  require(used + reader.rest().size() == bytes.size());
  require(reader.clean() == (reader.rest().size() < 4));
}

void check_body(Bytes body) {
  const auto reply = parse_login_reply(body);
  require(lies_in(reply.cookie, body));
  require(!(reply.bad_target && reply.target));
  require(reply.uin == parse_login_uin(body));
  if (const auto redirect = parse_service_redirect(body)) {
    require(lies_in(redirect->cookie, body) && reply.redirects());
    require(redirect->target == reply.target && redirect->tls == reply.tls);
  }
  if (const auto migration = parse_migration(body))
    require(lies_in(migration->cookie, body) && !migration->cookie.empty());
  const auto update = parse_status_update(body);
  if (update.direct) check_direct(*update.direct);
  if (update.contradictory) require(find_tlv(body, 0x0c).has_value());
  if (const auto info = parse_direct_info(body)) check_direct(*info);
  const auto self = parse_self_info(body);
  const auto buddies = parse_buddies(body);
  require(self.has_value() == !buddies.empty());
  require(buddies.size() <= body.size() / 6);
  for (const auto& buddy : buddies) check_user(buddy);
  if (self) require(self->uin == buddies.front().uin && self->external == buddies.front().external);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes payload = std::as_bytes(std::span{data, size});
  check_target(as_text(payload));
  check_uin(as_text(payload));
  check_body(payload);  // channel 4, and TLV blocks as such
  if (size <= 512) check_tlvs(payload);
  if (const auto hello = parse_client_hello(payload)) {
    require(lies_in(hello->cookie, payload));
    require(!hello->uin || hello->names_user);
    require(size >= 4);
  }
  if (parse_server_hello(payload)) require(size == 4 && parse_client_hello(payload));
  if (const auto snac = parse_snac(payload)) {
    require(lies_in(snac->body, payload) && snac->body.size() + 10 <= size);
    require((snac->flags & 0x8000) != 0 || snac->body.size() + 10 == size);
    check_body(snac->body);
    if (snac->body.size() <= 512) check_tlvs(snac->body);
  }
  return 0;
}
