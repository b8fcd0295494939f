// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>

#include "base/result.hpp"

namespace icqgate::daemon {

// The unix socket of `icqgate status`: a line with a word in, the answer out, end. Readable by the owner
// only.
class ControlSocket {
 public:
  using Answer = std::function<std::string(const std::string& word)>;

  // Takes over the path if the socket there is dead; an error if somebody listens on it, or the folder is not
  // there.
  [[nodiscard]] static Result<std::unique_ptr<ControlSocket>, std::string> open(boost::asio::io_context& loop,
                                                                                const std::string& path,
                                                                                Answer answer);
  ~ControlSocket();
  ControlSocket(const ControlSocket&) = delete;
  ControlSocket& operator=(const ControlSocket&) = delete;

 private:
  ControlSocket(boost::asio::io_context& loop, Answer answer);
  void accept();

  boost::asio::local::stream_protocol::acceptor acceptor_;
  boost::asio::steady_timer pause_;
  std::string path_;
  Answer answer_;
};

}  // namespace icqgate::daemon
