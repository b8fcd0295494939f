#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The Debian package, from building it to having purged it, on a bare Debian system in build/root:
#
#   packaging/build-deb -> build/deb/*.deb -> [ debootstrap minbase ] -> install -> run -> remove -> purge
#
# The bare system comes from the archives that this host's apt uses. Needs root. Last line: "N passed, N failed".
set -uo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." || exit 1
exec </dev/null
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

root=build/root
log=build/package-step.log
suite=bookworm
worst_exposure=15  # of systemd-analyze, in tenths: goal R12
passed=0
failed=0

ok() { passed=$((passed + 1)); echo "ok   $1"; }
bad() { failed=$((failed + 1)); echo "FAIL $1"; }
finish() { echo "$passed passed, $failed failed"; [ "$failed" = 0 ]; exit; }

try() {  # WORDS COMMAND...
  local words=$1
  shift
  if "$@" >"$log" 2>&1; then
    ok "$words"
  else
    bad "$words"
    tail -n 30 "$log" | sed 's/^/     /'
    return 1
  fi
}

need() { try "$@" || finish; }  # nothing after it makes sense without it

inside() { env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive chroot "$root" "$@"; }

# Repositories of Debian itself that the host knows: "address suite component", other people's left out.
debian_archives() {
  apt-get indextargets --format '$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)' 'Created-By: Packages' |
    awk -F'|' -v suite="$suite" '$1 == "Debian" && $4 == "main" && index($3, suite) == 1 { print $2, $3, $4 }' | sort -u
}

bare_system() {
  local mirror proxy
  rm -rf --one-file-system "$root"
  mirror=$(debian_archives | awk -v suite="$suite" '$2 == suite { print $1; exit }')
  [ -n "$mirror" ] || { echo "this host's apt knows no archive of Debian $suite"; return 1; }
  proxy=$(apt-config dump Acquire::http::Proxy | cut -d'"' -f2)
  [ -z "$proxy" ] || export http_proxy=$proxy
  debootstrap --variant=minbase "$suite" "$root" "$mirror" || return 1
  debian_archives | sed 's/^/deb /' >"$root/etc/apt/sources.list"
  # How this host reaches them (proxies, clocks that are off), without what it runs around dpkg.
  apt-config dump | grep '^Acquire::' >"$root/etc/apt/apt.conf.d/90host"
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  cp /etc/hosts "$root/etc/hosts"
  inside apt-get -q update
}

installed() { inside dpkg-query -W -f='${db:Status-Status}' icqgate; }
left_over() { find "$root" -xdev -name '*icqgate*' -not -path "$root/proc/*" -not -path "$root/icqgate_*.deb"; }

lint() {
  lintian --allow-root -EvIL +pedantic --no-cfg build/deb/icqgate_*.deb | grep -E '^[EWI]: '
  [ "${PIPESTATUS[1]}" != 0 ]
}

# systemd-analyze prints the exposure, and fails above the threshold.
exposure() { systemd-analyze security --offline=true --threshold=$worst_exposure --no-pager packaging/icqgate.service; }

version() {
  local want
  want=$(dpkg-deb -f build/deb/icqgate_*.deb Version)
  inside icqgate --version | tee /dev/stderr | grep -qF "$want"
}

# The service as the unit starts it: nobody's rights and CAP_NET_ADMIN, in a network of its own without any of the
# configured interfaces and with no resolver to reach. It has to say READY=1, and to end at SIGTERM with 0.
service_runs() {
  unshare --net python3 - "$root" <<'PYTHON'
import os, signal, socket, subprocess, sys

root = os.path.abspath(sys.argv[1])
for folder in ("run/icqgate", "var/lib/icqgate"):
    os.makedirs(f"{root}/{folder}", exist_ok=True)
    os.chown(f"{root}/{folder}", 65534, 65534)
os.chdir(f"{root}/run")  # a UNIX socket's path has to be short
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
if os.path.exists("notify"):
    os.unlink("notify")
notify.bind("notify")
os.chmod("notify", 0o777)
notify.settimeout(10)
rights = ["-all", "+net_admin"]
command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs",
           "--inh-caps=" + ",".join(rights), "--ambient-caps=" + ",".join(rights), "--bounding-set=" + ",".join(rights),
           "/usr/sbin/icqgate", "run", "--config", "/etc/icqgate/icqgate.conf"]
environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "NOTIFY_SOCKET": "/run/notify",
               "STATE_DIRECTORY": "/var/lib/icqgate", "RUNTIME_DIRECTORY": "/run/icqgate"}
service = subprocess.Popen(["chroot", root, *command], env=environment)
try:
    message = ""
    while "READY=1" not in message.split("\n"):
        message = notify.recv(4096).decode()
        print("notify:", message)
except TimeoutError:
    sys.exit(f"no READY=1 within 10 s; exit code so far: {service.poll()}")
finally:
    service.send_signal(signal.SIGTERM)
    try:
        code = service.wait(10)
    except subprocess.TimeoutExpired:
        service.kill()
        sys.exit("still there 10 s after SIGTERM")
if code != 0:
    sys.exit(f"ended with {code} after SIGTERM")
PYTHON
}

[ "$(id -u)" = 0 ] || { bad "this test needs root"; finish; }
mkdir -p build

# The tests of the package build are those of the part `unit`: not twice.
need "the package builds" env DEB_BUILD_OPTIONS=nocheck packaging/build-deb
try "lintian has no error, warning or info tag" lint
try "the unit's exposure is at most 1.5" exposure
need "a bare Debian system" bare_system
cp build/deb/icqgate_*.deb "$root/"
need "it installs" inside sh -c 'apt-get -q -y --no-install-recommends install /icqgate_*.deb'
try "every library is there" inside sh -c '! ldd /usr/sbin/icqgate | grep "not found"'
try "icqgate --version names the package's version" version
try "icqgate check takes the installed configuration" inside icqgate check --config /etc/icqgate/icqgate.conf
try "it is not enabled before the interfaces are named" \
  inside sh -c '! find /etc/systemd -name "icqgate*" | grep .'
try "the manual page is there" test -s "$root/usr/share/man/man8/icqgate.8.gz"
try "the service starts with CAP_NET_ADMIN alone, and ends" service_runs
echo '# my own line' >>"$root/etc/icqgate/icqgate.conf"
try "it is removed" inside apt-get -q -y remove icqgate
try "removing keeps the changed configuration" grep -q 'my own line' "$root/etc/icqgate/icqgate.conf"
try "removing takes the program" test ! -e "$root/usr/sbin/icqgate"
# What systemd would have left: the state, kept under private with a link to it.
rm -rf "$root/run/icqgate" "$root/var/lib/icqgate"
mkdir -p "$root/var/lib/private/icqgate"
echo '{}' >"$root/var/lib/private/icqgate/state"
ln -s private/icqgate "$root/var/lib/icqgate"
try "it is purged" inside apt-get -q -y purge icqgate
left=$(left_over)
try "purging leaves nothing" test -z "$left" || echo "$left"
if [ "$failed" = 0 ]; then rm -rf --one-file-system "$root"; fi
finish
