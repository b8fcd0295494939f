// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/integration.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "nft/ruleset.hpp"

namespace icqgate::cli {
namespace {

struct Firewall {
  std::string_view name;
  std::string_view what;
  // Words between @ are filled in afterwards (`fill`).
  std::string (*text)(const config::Config&);
};

constexpr std::string_view kPiped =
    "# add: as root; again as well\n"
    "#   icqgate emit --integrate @NAME@ --config /etc/icqgate/icqgate.conf | sh\n\n";

std::string nftables(const config::Config&) {
  return R"(# add: this line in the chain of yours that drops forwarded packets, before anything that drops. In
# Debian's /etc/nftables.conf that is `chain forward` of `table inet filter`. This whole text may be a file
# that the chain includes:  include "/etc/nftables.d/icqgate-mark.nft"
#
# now: the same without loading your ruleset anew
#   nft insert rule inet filter forward '@NFT@'

@NFT@

# check: the line is there
#   nft list ruleset | grep 'accept comment "icqgate"'
#
# undo: take it out of the file, load the file
#   nft -f /etc/nftables.conf
)";
}

std::string ufw(const config::Config&) {
  return std::string{kPiped} + R"(set -e
grep -q '^-A ufw-before-forward ' /etc/ufw/before.rules && grep -q '^-A ufw6-before-forward ' /etc/ufw/before6.rules ||
  { echo '/etc/ufw: no line to put it in front of; nothing is changed' >&2; exit 1; }
sed -i -e '/ --comment icqgate /d' \
  -e '0,/^-A ufw-before-forward /{/^-A ufw-before-forward /i -A ufw-before-forward @XT@' -e '}' \
  /etc/ufw/before.rules
sed -i -e '/ --comment icqgate /d' \
  -e '0,/^-A ufw6-before-forward /{/^-A ufw6-before-forward /i -A ufw6-before-forward @XT@' -e '}' \
  /etc/ufw/before6.rules
ufw reload

# check: it is the first rule
#   iptables -S ufw-before-forward 1 | grep 'icqgate'
#
# undo: both files as they were
#   sed -i '/ --comment icqgate /d' /etc/ufw/before.rules /etc/ufw/before6.rules
#   ufw reload
)";
}

std::string iptables(const config::Config&) {
  return std::string{kPiped} + R"(for command in iptables ip6tables; do
  # One of an earlier mark-mask goes.
  $command -S FORWARD | sed -n 's/^-A \(.* --comment icqgate .*\)/-D \1/p' | xargs -r -L 1 $command
  $command -I FORWARD @XT@
done

# Like all rules they go with the next start of the machine, unless what loads yours has them: with the package
# iptables-persistent, `netfilter-persistent save` keeps all rules as they are now.

# check: it is there, before anything that drops
#   iptables -S FORWARD | grep 'icqgate'
#
# undo
#   iptables -D FORWARD @XT@
#   ip6tables -D FORWARD @XT@
)";
}

std::string docker(const config::Config&) {
  return std::string{kPiped} +
         R"(# Docker sets the policy of FORWARD to drop, and leaves the chain DOCKER-USER to you. It never empties that, but a
# start of the machine does: so each start of Docker puts the rule there.
set -e
for command in iptables ip6tables; do
  $command -n -L DOCKER-USER >/dev/null 2>&1 || continue
  # One of an earlier mark-mask goes.
  $command -S DOCKER-USER | sed -n 's/^-A \(.* --comment icqgate .*\)/-D \1/p' | xargs -r -L 1 $command
  $command -I DOCKER-USER @XT@
done
mkdir -p /etc/systemd/system/docker.service.d
cat >/etc/systemd/system/docker.service.d/icqgate.conf <<'END'
# Written by `icqgate emit --integrate docker`.
[Service]
ExecStartPost=-/bin/sh -c 'iptables -C DOCKER-USER @XT@ || iptables -I DOCKER-USER @XT@'
ExecStartPost=-/bin/sh -c 'ip6tables -C DOCKER-USER @XT@ || ip6tables -I DOCKER-USER @XT@'
END
systemctl daemon-reload

# check: it is the first rule
#   iptables -S DOCKER-USER 1 | grep 'icqgate'
#
# undo
#   iptables -D DOCKER-USER @XT@
#   ip6tables -D DOCKER-USER @XT@ 2>/dev/null
#   rm /etc/systemd/system/docker.service.d/icqgate.conf
#   systemctl daemon-reload
)";
}

constexpr std::string_view kRejects =
    R"(# @FIREWALL@ rejects what it does not let out, and a client that is told so does not ask again. If it does not let
# your clients out by itself, icqgate has to let them out at once:  outbound = check
#
)";

std::string firewalld(const config::Config& config) {
  std::string text;
  if (config.masquerade)
    text +=
        R"(# With masquerade = yes firewalld passes all pinholes by itself: it accepts what is DNATed. What follows is needed
# only where firewalld does not let your clients out. Those are let out by a policy, such as
#   firewall-cmd --permanent --new-policy icqgate-out
#   firewall-cmd --permanent --policy icqgate-out --add-ingress-zone internal --add-egress-zone external
#   firewall-cmd --permanent --policy icqgate-out --set-target ACCEPT
#
)";
  if (config.outbound == config::Outbound::Auto) text += kRejects;
  text +=
      R"(# No rule of firewalld's own matches a mark, and one added with --direct goes to another table, whose accept
# firewalld's drops all the same. So the line goes into firewalld's table. firewalld makes that anew at every reload
# and start: a service of its own waits for that (D-Bus tells of it), and puts the line back. A connection that begins
# in between is rejected; those that are open go on. Needs the packages nftables and dbus-bin. From firewalld 2.1 on
# nobody else may touch the table: there, set NftablesTableOwner=no in /etc/firewalld/firewalld.conf.
#
)";
  text += kPiped;
  text += R"(set -e
cat >/usr/local/sbin/icqgate-firewalld <<'END'
#!/bin/sh
# Written by `icqgate emit --integrate firewalld`: keeps icqgate's line in firewalld's table.
put() {
  nft list chain inet firewalld filter_FORWARD | grep -q 'meta mark & @MASK@ .*accept comment "icqgate"' ||
    nft insert rule inet firewalld filter_FORWARD '@NFT@'
}
firewall-cmd --state >/dev/null  # answers once firewalld has made its table
put
dbus-monitor --system --profile "type='signal',interface='org.fedoraproject.FirewallD1',member='Reloaded'" |
  while read -r line; do put; done
END
chmod 755 /usr/local/sbin/icqgate-firewalld
cat >/etc/systemd/system/icqgate-firewalld.service <<'END'
# Written by `icqgate emit --integrate firewalld`.
[Unit]
Description=icqgate's line in firewalld's table
After=firewalld.service
PartOf=firewalld.service

[Service]
ExecStart=/usr/local/sbin/icqgate-firewalld
Restart=always

[Install]
WantedBy=firewalld.service
END
systemctl daemon-reload
systemctl enable icqgate-firewalld
systemctl restart icqgate-firewalld

# check: the line is there, also after `firewall-cmd --reload`
#   nft list chain inet firewalld filter_FORWARD | grep 'accept comment "icqgate"'
#
# undo: the reload takes the line away
#   systemctl disable --now icqgate-firewalld
#   rm /usr/local/sbin/icqgate-firewalld /etc/systemd/system/icqgate-firewalld.service
#   systemctl daemon-reload
#   firewall-cmd --reload
)";
  return text;
}

constexpr std::string_view kNoOffloading =
    R"(# Flow offloading takes connections away from icqgate. It is off by default; if you switched it on:
#   uci set firewall.@defaults[0].flow_offloading=0
#   uci commit firewall
#
)";

std::string fw4(const config::Config& config) {
  std::string text;
  if (config.masquerade)
    text +=
        R"(# With masquerade = yes pinholes are DNATed. fw4 accepts those by itself only if the zone of wan has a port
# forward (`config redirect`) of any kind, and the zone of lan is let out as it is by default. Otherwise, and to be
# sure:
#
)";
  if (config.outbound == config::Outbound::Auto) text += kRejects;
  text += kNoOffloading;
  text += kPiped;
  text += R"(set -e
mkdir -p /usr/share/nftables.d/chain-pre/forward
cat >/usr/share/nftables.d/chain-pre/forward/icqgate.nft <<'END'
@NFT@
END
grep -qs chain-pre/forward/icqgate.nft /etc/sysupgrade.conf ||
  echo /usr/share/nftables.d/chain-pre/forward/icqgate.nft >>/etc/sysupgrade.conf
fw4 reload

# check: the line is there, before all rules of fw4
#   nft list chain inet fw4 forward | grep 'accept comment "icqgate"'
#
# undo
#   rm /usr/share/nftables.d/chain-pre/forward/icqgate.nft
#   sed -i '/chain-pre.forward.icqgate.nft/d' /etc/sysupgrade.conf
#   fw4 reload
)";
  return text;
}

constexpr std::array<Firewall, 6> kFirewalls{{
    {"nftables", "a ruleset of your own", nftables},
    {"firewalld", "firewalld with its nftables backend", firewalld},
    {"ufw", "ufw", ufw},
    {"docker", "Docker's rules", docker},
    {"fw4", "OpenWrt's fw4", fw4},
    {"iptables", "iptables rules of your own", iptables},
}};

std::string words(const std::vector<std::string>& list) {
  std::string text;
  for (const auto& one : list) text += (text.empty() ? "" : ", ") + one;
  return text;
}

void fill(std::string& text, std::string_view word, std::string_view value) {
  for (auto at = text.find(word); at != std::string::npos; at = text.find(word, at + value.size()))
    text.replace(at, word.size(), value);
}

}  // namespace

std::optional<std::string> integration(std::string_view firewall, const config::Config& config) {
  const auto* const found = std::find_if(kFirewalls.begin(), kFirewalls.end(),
                                         [&](const Firewall& one) { return one.name == firewall; });
  if (found == kFirewalls.end()) return std::nullopt;
  const std::string mask = fmt::format("{:#010x}", nft::marks_of(config.mark_mask).mask);
  std::string text = fmt::format(
      "# icqgate {} beside {}\n#\n"
      "# lan {}, wan {}, mark-mask {}, masquerade {}\n#\n"
      "# An accept of icqgate's table can't beat the drop of another. So icqgate marks each packet that it "
      "allows (the\n"
      "# bits of mark-mask have to be its alone), and the chain that drops forwarded packets accepts the "
      "mark first.\n#\n",
      ICQGATE_VERSION, found->what, words(config.lan), words(config.wan), mask,
      config.masquerade ? "yes" : "no");
  text += found->text(config);
  fill(text, "@NFT@", fmt::format("meta mark & {} != 0 accept comment \"icqgate\"", mask));
  fill(text, "@XT@", fmt::format("-m mark ! --mark 0x0/{} -m comment --comment icqgate -j ACCEPT", mask));
  fill(text, "@MASK@", mask);
  fill(text, "@NAME@", found->name);
  fill(text, "@FIREWALL@", found->name);
  return text;
}

std::string integration_names() {
  std::string text;
  for (const Firewall& one : kFirewalls) text += fmt::format("{}{}", text.empty() ? "" : ", ", one.name);
  return text;
}

}  // namespace icqgate::cli
