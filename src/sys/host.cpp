// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/host.hpp"

#include <fcntl.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "sys/file.hpp"
#include "sys/handles.hpp"
#include "sys/unique_fd.hpp"

namespace icqgate::sys {

namespace {

constexpr std::size_t kMostText = 64 * 1024 * 1024;
using NameList = std::unique_ptr<struct if_nameindex, CloseWith<&if_freenameindex>>;

std::string text_of(const std::string& path) { return read_file(path, kMostText).value_or(std::string{}); }

// The words of each line.
std::vector<std::vector<std::string_view>> fields_of(std::string_view text) {
  std::vector<std::vector<std::string_view>> lines;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    std::vector<std::string_view> words;
    for (;;) {
      const auto first = line.find_first_not_of(" \t");
      if (first == std::string_view::npos) break;
      line.remove_prefix(first);
      const auto length = std::min(line.find_first_of(" \t"), line.size());
      words.push_back(line.substr(0, length));
      line.remove_prefix(length);
    }
    lines.push_back(std::move(words));
  }
  return lines;
}

template <class Number>
std::optional<Number> number(std::string_view text, int base = 10) {
  Number value{};
  const auto done = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (done.ec != std::errc{} || done.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

// The kernel prints an address as 32-bit numbers in the machine's own byte order.
std::optional<IpAddress> address_of(std::string_view hex) {
  if (hex.size() != 8 && hex.size() != 32) return std::nullopt;
  std::array<std::uint8_t, 16> bytes{};
  for (std::size_t word = 0; word < hex.size() / 8; ++word) {
    const auto value = number<std::uint32_t>(hex.substr(8 * word, 8), 16);
    if (!value) return std::nullopt;
    std::memcpy(bytes.data() + 4 * word, &*value, sizeof *value);
  }
  if (hex.size() == 32) return Ipv6{bytes};
  return make_ipv4(bytes[0], bytes[1], bytes[2], bytes[3]);
}

struct ReadRule {
  MarkRule rule;
  bool masked = false;
};

int keep_attribute(const nlattr* attribute, void* data) {
  if (mnl_attr_get_payload_len(attribute) != sizeof(std::uint32_t)) return MNL_CB_OK;
  auto& [rule, masked] = *static_cast<ReadRule*>(data);
  const std::uint32_t value = mnl_attr_get_u32(attribute);
  switch (mnl_attr_get_type(attribute)) {
    case FRA_PRIORITY:
      rule.priority = value;
      break;
    case FRA_FWMARK:
      rule.mark = value;
      break;
    case FRA_FWMASK:
      rule.mask = value;
      masked = true;
      break;
    case FRA_TABLE:
      rule.table = value;
      break;
    default:
      break;
  }
  return MNL_CB_OK;
}

int keep_rule(const nlmsghdr* message, void* data) {
  if (message->nlmsg_type != RTM_NEWRULE) return MNL_CB_OK;
  ReadRule read;
  mnl_attr_parse(message, sizeof(fib_rule_hdr), &keep_attribute, &read);
  if (read.rule.mark != 0 || (read.masked && read.rule.mask != 0))
    static_cast<std::vector<MarkRule>*>(data)->push_back(read.rule);
  return MNL_CB_OK;
}

}  // namespace

std::optional<std::string> sysctl(const std::string& name) {
  auto text = read_file("/proc/sys/" + name, 4096);
  if (!text) return std::nullopt;
  while (text->ends_with('\n')) text->pop_back();
  return *text;
}

std::optional<std::uint64_t> sysctl_number(const std::string& name) {
  const auto text = sysctl(name);
  return text ? number<std::uint64_t>(*text) : std::nullopt;
}

std::vector<Endpoint> parse_listeners(std::string_view text) {
  // sl | local address:port | remote | state (0A: LISTEN) | ...
  std::vector<Endpoint> found;
  for (const auto& words : fields_of(text)) {
    if (words.size() < 4 || words[3] != "0A") continue;
    const auto colon = words[1].find(':');
    if (colon == std::string_view::npos) continue;
    const auto address = address_of(words[1].substr(0, colon));
    const auto port = number<std::uint16_t>(words[1].substr(colon + 1), 16);
    if (address && port) found.push_back({*address, Port{*port}});
  }
  return found;
}

std::vector<Endpoint> tcp_listeners() {
  auto found = parse_listeners(text_of("/proc/self/net/tcp"));
  const auto six = parse_listeners(text_of("/proc/self/net/tcp6"));
  found.insert(found.end(), six.begin(), six.end());
  return found;
}

std::vector<std::string> interface_names() {
  std::vector<std::string> found;
  const NameList names{::if_nameindex()};
  if (!names) return found;
  for (const struct if_nameindex* entry = names.get(); entry->if_index != 0; ++entry)
    found.emplace_back(entry->if_name);
  return found;
}

std::vector<std::string> default_routes() {
  // interface | destination | gateway | flags | ... | mask
  std::vector<std::string> found;
  const std::string text = text_of("/proc/self/net/route");  // the words are in it
  for (const auto& words : fields_of(text)) {
    if (words.size() < 8 || words[1] != "00000000" || words[7] != "00000000") continue;
    if (std::find(found.begin(), found.end(), words[0]) == found.end()) found.emplace_back(words[0]);
  }
  return found;
}

std::vector<std::uint16_t> bound_queues() {
  std::vector<std::uint16_t> found;
  const std::string text = text_of("/proc/self/net/netfilter/nfnetlink_queue");
  for (const auto& words : fields_of(text))
    if (!words.empty())
      if (const auto queue = number<std::uint16_t>(words[0])) found.push_back(*queue);
  return found;
}

Result<std::vector<MarkRule>, SysError> mark_rules() {
  const MnlSocket socket{mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC)};
  if (!socket || mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) != 0)
    return tl::make_unexpected(SysError{"a socket for routes", errno});
  std::array<char, 32768> buffer{};
  nlmsghdr* const request = mnl_nlmsg_put_header(buffer.data());
  request->nlmsg_type = RTM_GETRULE;
  request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  auto* const header = static_cast<fib_rule_hdr*>(mnl_nlmsg_put_extra_header(request, sizeof(fib_rule_hdr)));
  header->family = AF_INET;
  if (mnl_socket_sendto(socket.get(), request, request->nlmsg_len) < 0)
    return tl::make_unexpected(SysError{"RTM_GETRULE", errno});
  std::vector<MarkRule> rules;
  for (;;) {
    const auto size = mnl_socket_recvfrom(socket.get(), buffer.data(), buffer.size());
    if (size < 0) return tl::make_unexpected(SysError{"RTM_GETRULE", errno});
    const int more = mnl_cb_run(buffer.data(), static_cast<std::size_t>(size), 0,
                                mnl_socket_get_portid(socket.get()), &keep_rule, &rules);
    if (more < 0) return tl::make_unexpected(SysError{"RTM_GETRULE", errno});
    if (more == MNL_CB_STOP) return rules;
  }
}

std::optional<std::string> output_of(const std::string& path, std::size_t most) {
  if (::access(path.c_str(), X_OK) != 0) return std::nullopt;
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return std::nullopt;
  const UniqueFd reading{ends[0]};
  UniqueFd writing{ends[1]};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, writing.get(), STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  std::string name = path;
  std::array<char*, 2> arguments{name.data(), nullptr};
  std::array<char*, 1> environment{nullptr};
  pid_t child = 0;
  const int failed =
      posix_spawn(&child, path.c_str(), &actions, nullptr, arguments.data(), environment.data());
  posix_spawn_file_actions_destroy(&actions);
  writing.reset();
  if (failed != 0) return std::nullopt;
  std::string text;
  std::array<char, 65536> part{};
  bool whole = true;
  for (;;) {
    const auto size = ::read(reading.get(), part.data(), part.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) {
      whole = whole && size == 0;
      break;
    }
    if (text.size() + static_cast<std::size_t>(size) > most) {
      whole = false;  // read on, so that it can end
      continue;
    }
    text.append(part.data(), static_cast<std::size_t>(size));
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return std::nullopt;
  if (!whole || !WIFEXITED(status) || WEXITSTATUS(status) != 0) return std::nullopt;
  return text;
}

}  // namespace icqgate::sys
