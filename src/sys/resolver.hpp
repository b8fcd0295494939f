// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "net/address.hpp"

namespace boost::asio {
class io_context;
}

namespace icqgate::sys {

// A stub resolver: c-ares on the loop of Boost.Asio. UDP first, TCP where the answer was cut. A server that
// can't be reached or says SERVFAIL or REFUSED is left for the next at once, a silent one after 1.5 s; all of
// them get three tries, of 1.5, 3 and 6 s.
class Resolver {
 public:
  // Where the system's servers are named; a link in many places. FileStamp tells when to reload().
  static constexpr const char* kSystemFile = "/etc/resolv.conf";

  struct Reply {
    // The DNS response message as it came (NXDOMAIN and NODATA are responses too, and so are SERVFAIL and
    // REFUSED if no server did better), or in words why there is none: "timed out", "connection refused" ...
    Result<std::vector<std::byte>, std::string> message;
  };
  using Callback = std::function<void(Reply)>;

  // `servers`: asked in this order; port 0 means 53. Empty: those of the system's resolv.conf. `loop` has to
  // outlive this.
  Resolver(boost::asio::io_context& loop, std::vector<Endpoint> servers);
  // No callback comes after this.
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  // Asks for RRs of `qtype` (class IN) of exactly this owner name, no search domains. `done` is called once,
  // from the loop, never from inside ask().
  void ask(std::string absolute_name, std::uint16_t qtype, Callback done);

  // Reads resolv.conf again; questions under way are asked anew. If it can't be read, the servers stay who
  // they were, and the next ask() tries again.
  void reload();

  // Asks these from now on, as if they had been given at the start; as reload() for what is under way.
  void use(std::vector<Endpoint> servers);

  // Who is asked, in this order: the servers given, or those of resolv.conf when it was last read.
  [[nodiscard]] std::vector<Endpoint> servers() const;

 private:
  class Channel;
  std::shared_ptr<Channel> channel_;
};

}  // namespace icqgate::sys
