// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/capture.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <system_error>

namespace icqgate::cli {

namespace {

auto failed(int code) { return tl::make_unexpected(std::generic_category().message(code)); }

// libpcap gives its own numbers (DLT_) for the file's (LINKTYPE_): only these differ.
std::optional<LinkType> link_type(int dlt) {
  switch (dlt) {
    case DLT_NULL:
      return LinkType::Null;
    case DLT_EN10MB:
      return LinkType::Ethernet;
    case DLT_RAW:
      return LinkType::Raw;
    case DLT_LINUX_SLL:
      return LinkType::LinuxCooked;
    case DLT_LINUX_SLL2:
      return LinkType::LinuxCooked2;
    case DLT_IPV4:
      return LinkType::RawIpv4;
    case DLT_IPV6:
      return LinkType::RawIpv6;
    default:
      return std::nullopt;
  }
}

Result<sys::UniqueFd, std::string> spooled(const sys::UniqueFd& from) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file{std::tmpfile(), &std::fclose};
  if (!file) return failed(errno);
  std::array<char, 65536> part;
  for (;;) {
    const auto count = ::read(from.get(), part.data(), part.size());
    if (count == 0) break;
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed(errno);
    if (std::fwrite(part.data(), 1, static_cast<std::size_t>(count), file.get()) !=
        static_cast<std::size_t>(count)) {
      return failed(errno);
    }
  }
  if (std::fflush(file.get()) != 0) return failed(errno);
  sys::UniqueFd copy{::fcntl(fileno(file.get()), F_DUPFD_CLOEXEC, 0)};
  if (!copy) return failed(errno);
  return copy;
}

}  // namespace

Result<CaptureFile, std::string> CaptureFile::open(const std::string& path) {
  sys::UniqueFd file{path == "-" ? ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)
                                 : ::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!file) return failed(errno);
  struct stat about{};
  if (::fstat(file.get(), &about) != 0) return failed(errno);
  if (S_ISDIR(about.st_mode)) return failed(EISDIR);
  if (!S_ISREG(about.st_mode)) {
    auto copy = spooled(file);
    if (!copy) return tl::make_unexpected(copy.error());
    file = std::move(*copy);
  }
  return CaptureFile{std::move(file)};
}

Result<Capture, std::string> CaptureFile::read() {
  if (::lseek(file_.get(), 0, SEEK_SET) < 0) return failed(errno);
  sys::UniqueFd again{::fcntl(file_.get(), F_DUPFD_CLOEXEC, 0)};
  if (!again) return failed(errno);
  std::FILE* const stream = ::fdopen(again.get(), "rb");
  if (stream == nullptr) return failed(errno);
  static_cast<void>(again.release());  // the stream has it
  std::array<char, PCAP_ERRBUF_SIZE> words{};
  Capture capture{std::unique_ptr<pcap_t, Capture::Close>{pcap_fopen_offline(stream, words.data())}};
  if (!capture.handle_) {
    std::fclose(stream);
    return tl::make_unexpected(fmt::format("not a capture file: {}", words.data()));
  }
  const int dlt = pcap_datalink(capture.handle_.get());
  const auto link = link_type(dlt);
  if (!link) {
    const char* const name = pcap_datalink_val_to_name(dlt);
    return tl::make_unexpected(
        fmt::format("link type {} is not read here; expected Ethernet, Linux cooked, raw IP or null",
                    name != nullptr ? name : std::to_string(dlt)));
  }
  capture.link_ = *link;
  return capture;
}

Result<std::optional<Frame>, std::string> Capture::next() {
  pcap_pkthdr* header = nullptr;
  const unsigned char* bytes = nullptr;
  switch (pcap_next_ex(handle_.get(), &header, &bytes)) {
    case 1:
      break;
    case PCAP_ERROR_BREAK:
      return std::nullopt;
    default:
      return tl::make_unexpected(std::string{pcap_geterr(handle_.get())});
  }
  // Hostile times (pcapng has 64 bits) must not overflow once they are nanoseconds.
  constexpr std::int64_t kMostSeconds = 9'000'000'000;
  const auto seconds = std::clamp<std::int64_t>(header->ts.tv_sec, 0, kMostSeconds);
  const auto micros = std::clamp<std::int64_t>(header->ts.tv_usec, 0, 999'999);
  return Frame{std::chrono::seconds{seconds} + std::chrono::microseconds{micros},
               {reinterpret_cast<const std::byte*>(bytes), header->caplen}};
}

}  // namespace icqgate::cli
