// SPDX-License-Identifier: GPL-2.0-or-later
#include "daemon/control_socket.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <filesystem>
#include <istream>

namespace icqgate::daemon {

namespace asio = boost::asio;
using Protocol = asio::local::stream_protocol;

namespace {

constexpr std::size_t kLongestWord = 256;
constexpr std::chrono::seconds kPatience{5};

// One client: a word in, the answer out. Lives as long as something is under way; a client that says nothing
// is sent off, so that it can't hold descriptors for ever.
class Client : public std::enable_shared_from_this<Client> {
 public:
  Client(Protocol::socket socket, ControlSocket::Answer answer)
      : socket_{std::move(socket)},
        timer_{socket_.get_executor()},
        input_{kLongestWord},
        answer_{std::move(answer)} {}

  void start() {
    timer_.expires_after(kPatience);
    timer_.async_wait([self = shared_from_this()](boost::system::error_code error) {
      if (!error) self->socket_.close(error);
    });
    asio::async_read_until(
        socket_, input_, '\n', [self = shared_from_this()](boost::system::error_code error, std::size_t) {
          if (error) {
            self->timer_.cancel();
            return;
          }
          std::istream stream{&self->input_};
          std::string word;
          std::getline(stream, word);
          self->output_ = self->answer_(word);
          asio::async_write(self->socket_, asio::buffer(self->output_),
                            [self](boost::system::error_code, std::size_t) { self->timer_.cancel(); });
        });
  }

 private:
  Protocol::socket socket_;
  asio::steady_timer timer_;
  asio::streambuf input_;
  ControlSocket::Answer answer_;
  std::string output_;
};

}  // namespace

ControlSocket::ControlSocket(asio::io_context& loop, Answer answer)
    : acceptor_{loop}, pause_{loop}, answer_{std::move(answer)} {}

Result<std::unique_ptr<ControlSocket>, std::string> ControlSocket::open(asio::io_context& loop,
                                                                        const std::string& path,
                                                                        Answer answer) {
  const auto fail = [&path](const std::string& why) {
    return tl::make_unexpected(fmt::format("control socket {}: {}", path, why));
  };
  if (path.size() >= sizeof(sockaddr_un::sun_path)) return fail("the path is too long for a socket");
  std::error_code ignored;
  if (const auto folder = std::filesystem::path{path}.parent_path(); !folder.empty())
    std::filesystem::create_directories(folder, ignored);
  boost::system::error_code error;
  Protocol::socket probe{loop};
  probe.connect(Protocol::endpoint{path}, error);
  if (!error) return fail("another icqgate answers there");
  if (error == asio::error::connection_refused)
    std::filesystem::remove(path, ignored);  // left by one that died

  std::unique_ptr<ControlSocket> self{new ControlSocket{loop, std::move(answer)}};
  self->acceptor_.open(Protocol{}, error);
  const mode_t mask = ::umask(0177);
  if (!error) self->acceptor_.bind(Protocol::endpoint{path}, error);
  ::umask(mask);
  if (!error) self->acceptor_.listen(16, error);
  if (error) return fail(error.message());
  self->path_ = path;  // from here on it is ours to remove
  self->accept();
  return self;
}

ControlSocket::~ControlSocket() {
  if (path_.empty()) return;
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

void ControlSocket::accept() {
  acceptor_.async_accept([this](boost::system::error_code error, Protocol::socket socket) {
    if (error == asio::error::operation_aborted) return;
    if (!error) {
      std::make_shared<Client>(std::move(socket), answer_)->start();
      accept();
      return;
    }
    // Out of descriptors, most likely: trying again at once would only spin.
    pause_.expires_after(std::chrono::seconds{1});
    pause_.async_wait([this](boost::system::error_code over) {
      if (!over) accept();
    });
  });
}

}  // namespace icqgate::daemon
