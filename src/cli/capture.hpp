// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <pcap/pcap.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "net/packet.hpp"
#include "sys/unique_fd.hpp"

namespace icqgate::cli {

// One frame of a capture; borrowed until the next one is read.
struct Frame {
  std::chrono::microseconds time;  // since the epoch, 0 to some 290 years
  Bytes bytes;
};

// The frames of a capture file (pcap or pcapng, by libpcap), from its beginning.
class Capture {
 public:
  [[nodiscard]] LinkType link() const noexcept { return link_; }
  // nullopt at the end. The error, in libpcap's words, is the end as well: a file cut short, say.
  [[nodiscard]] Result<std::optional<Frame>, std::string> next();

 private:
  friend class CaptureFile;
  struct Close {
    void operator()(pcap_t* handle) const noexcept { pcap_close(handle); }
  };
  explicit Capture(std::unique_ptr<pcap_t, Close> handle) noexcept : handle_{std::move(handle)} {}

  std::unique_ptr<pcap_t, Close> handle_;
  LinkType link_ = LinkType::Ethernet;
};

// A capture file that can be read more than once; "-" is standard input. What cannot be read again (a pipe)
// is copied to a temporary file first.
class CaptureFile {
 public:
  [[nodiscard]] static Result<CaptureFile, std::string> open(const std::string& path);
  // One at a time: they share the place in the file. Fails if it is no capture, or of a link type that is not
  // read here.
  [[nodiscard]] Result<Capture, std::string> read();

 private:
  explicit CaptureFile(sys::UniqueFd file) noexcept : file_{std::move(file)} {}
  sys::UniqueFd file_;
};

}  // namespace icqgate::cli
