// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/service_socket.hpp"

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <optional>

namespace icqgate::cli {

namespace {
constexpr std::chrono::seconds kPatience{5};
constexpr std::size_t kMostAnswer = 256u << 20;
constexpr std::size_t kLongestPath = 107;  // sun_path less its end; asio throws beyond
}  // namespace

Result<std::string, std::string> ask_service(const std::string& path, const std::string& word) {
  namespace asio = boost::asio;
  using boost::system::error_code;
  if (path.size() > kLongestPath) return tl::make_unexpected(std::string{"the path is too long"});
  asio::io_context loop;
  asio::local::stream_protocol::socket socket{loop};
  const std::string line = word + "\n";
  std::string answer;
  std::optional<error_code> outcome;

  socket.async_connect({path}, [&](error_code error) {
    if (error) {
      outcome = error;
      return;
    }
    asio::async_write(socket, asio::buffer(line), [&](error_code write_error, std::size_t) {
      if (write_error) {
        outcome = write_error;
        return;
      }
      asio::async_read(socket, asio::dynamic_buffer(answer, kMostAnswer), asio::transfer_all(),
                       [&](error_code read_error, std::size_t) { outcome = read_error; });
    });
  });
  loop.run_for(kPatience);
  if (!outcome) return tl::make_unexpected(std::string{"no answer in time"});
  if (*outcome != asio::error::eof) return tl::make_unexpected(outcome->message());
  if (answer.empty()) return tl::make_unexpected(std::string{"an empty answer"});
  return answer;
}

}  // namespace icqgate::cli
