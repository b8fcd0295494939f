// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>
#include <array>
#include <string_view>

#include "config/config.hpp"

namespace icqgate::config {
namespace {

struct Denied {
  std::uint16_t first;
  std::uint16_t last;
  std::string_view what;  // for the reader
};

// Services that an inside host may well run and that no stranger should meet (security.md S8). Below 1024
// everything is denied. Ascending, without overlap.
constexpr std::array kDenied{
    Denied{1080, 1080, "SOCKS"},
    Denied{1433, 1434, "Microsoft SQL Server"},
    Denied{1521, 1521, "Oracle database"},
    Denied{1723, 1723, "PPTP"},
    Denied{1883, 1883, "MQTT"},
    Denied{1900, 1900, "UPnP"},
    Denied{2049, 2049, "NFS"},
    Denied{2375, 2376, "Docker"},
    Denied{2379, 2380, "etcd"},
    Denied{3128, 3128, "HTTP proxy"},
    Denied{3260, 3260, "iSCSI"},
    Denied{3306, 3306, "MySQL"},
    Denied{3389, 3389, "remote desktop"},
    Denied{4444, 4444, "remote shells"},
    Denied{4899, 4899, "Radmin"},
    Denied{5000, 5000, "UPnP, NAS administration"},
    Denied{5060, 5061, "SIP"},
    Denied{5190, 5190, "OSCAR; libpurple listens there by default"},
    Denied{5432, 5432, "PostgreSQL"},
    Denied{5555, 5555, "Android debug bridge"},
    Denied{5800, 5810, "VNC over HTTP"},
    Denied{5900, 5910, "VNC"},
    Denied{5984, 5986, "CouchDB, Windows remote management"},
    Denied{6000, 6063, "X11"},
    Denied{6379, 6379, "Redis"},
    Denied{6443, 6443, "Kubernetes"},
    Denied{7001, 7002, "WebLogic"},
    Denied{8000, 8000, "HTTP"},
    Denied{8080, 8081, "HTTP proxy"},
    Denied{8291, 8291, "RouterOS administration"},
    Denied{8443, 8443, "HTTPS administration"},
    Denied{8728, 8729, "RouterOS interface"},
    Denied{8888, 8888, "HTTP"},
    Denied{9000, 9000, "HTTP administration"},
    Denied{9090, 9090, "HTTP administration"},
    Denied{9100, 9100, "printers"},
    Denied{9200, 9200, "Elasticsearch"},
    Denied{9300, 9300, "Elasticsearch"},
    Denied{10000, 10000, "Webmin"},
    Denied{10250, 10250, "Kubernetes"},
    Denied{11211, 11211, "memcached"},
    Denied{27017, 27019, "MongoDB"},
};

constexpr bool ascending() noexcept {
  for (std::size_t i = 0; i < kDenied.size(); ++i) {
    if (kDenied[i].first > kDenied[i].last || kDenied[i].first < 1024) return false;
    if (i > 0 && kDenied[i - 1].last >= kDenied[i].first) return false;
  }
  return true;
}
static_assert(ascending());

constexpr std::uint16_t kOscar = 5190;

// Did the operator mean libpurple's ports (5190 and up) when writing the range?
bool names_libpurple(const PortRange& range) noexcept {
  const auto near = [](Port port) { return port >= Port{5180} && port <= Port{5299}; };
  return near(range.first) || near(range.last);
}

}  // namespace

bool is_denied(Port port, const Config& config) noexcept {
  const auto number = port.get();
  if (number < 1024 || config.port_deny.contains(port)) return true;
  const auto* const next = std::ranges::upper_bound(kDenied, number, {}, &Denied::first);
  if (next == kDenied.begin() || number > std::prev(next)->last) return false;
  return number != kOscar || !names_libpurple(config.port_range);
}

std::vector<Port> denied_ports(const Config& config) {
  std::vector<Port> ports;
  for (std::uint32_t number = config.port_range.first.get(); number <= config.port_range.last.get();
       ++number) {
    const Port port{static_cast<std::uint16_t>(number)};
    if (is_denied(port, config)) ports.push_back(port);
  }
  return ports;
}

}  // namespace icqgate::config
