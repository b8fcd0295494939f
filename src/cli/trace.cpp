// SPDX-License-Identifier: GPL-2.0-or-later
#include <fmt/ostream.h>

#include <algorithm>
#include <cstdio>

#include "cli/arguments.hpp"
#include "cli/capture.hpp"
#include "cli/commands.hpp"
#include "cli/replay.hpp"
#include "cli/report_line.hpp"

namespace icqgate::cli {

namespace po = boost::program_options;
using std::chrono::microseconds;

namespace {

constexpr Port kDns{53};

void help(const po::options_description& own) {
  std::fputs(
      fmt::format(
          "usage: icqgate trace FILE [OPTIONS] [CONFIGURATION OPTIONS]\n\n"
          "Runs the decisions of the service over a capture (pcap or pcapng; - is standard input): what "
          "would "
          "have been\nopened, when, and why not. Needs no privilege and touches no kernel. Capture on the "
          "inside "
          "interface, from\nbefore the client logs in.\n\n{}\n"
          "A private address that talks to one that is not is taken for inside; where both are private, name "
          "the inside\nwith --client. Names are answered from the DNS answers in the capture. Without a "
          "port-range it is 1024-65535\nhere, to show all that would be opened; lan, wan, resolver, table "
          "and "
          "the queues count for nothing.\n\n"
          "configuration:\n{}\n"
          "examples:\n"
          "  icqgate trace lan.pcap --login-host login.icq.com\n"
          "  icqgate trace lan.pcapng --client 192.168.1.0/24 --login-host 192.0.2.5 --relative\n"
          "  tcpdump -i br-lan -w - tcp or port 53 | icqgate trace - --json\n",
          fmt::streamed(own), config::options_help())
          .c_str(),
      stdout);
}

// The configuration, where a port-range that nobody gave is all of it: one more line is an error only where
// the file has such a line, and the command line goes before both.
Result<config::Config, std::vector<config::ConfigError>> parse(const ConfigurationText& source,
                                                               const std::vector<std::string>& options) {
  auto config = config::parse(source.text, source.file, options);
  if (!config) return config;
  auto wide = config::parse(source.text + "\nport-range = 1024-65535\n", source.file, options);
  return wide ? wide : config;
}

// What has to be known before the first packet. Where this reading ends early, so does the second, which
// tells.
struct FirstReading {
  CapturedAnswers answers;
  // Somebody with a private address answers the clients from outside.
  Replay::Outside outside = Replay::Outside::Internet;
};

FirstReading read_first(Capture capture, const Sides& sides) {
  constexpr std::uint8_t kSynAck = TcpSegment::kSyn | TcpSegment::kAck;
  FirstReading found;
  for (;;) {
    const auto frame = capture.next();
    if (!frame || !*frame) return found;
    const auto packet = strip_link(capture.link(), (*frame)->bytes);
    if (!packet) continue;
    const auto transport = parse_packet(*packet);
    if (!transport) continue;
    if (const auto* segment = std::get_if<TcpSegment>(&*transport)) {
      const auto& [source, destination] = std::tie(segment->source.address, segment->destination.address);
      const bool outside =
          sides.of(source, destination) == engine::Side::Wan || sides.untold(source, destination);
      if (segment->has(kSynAck) && outside && scope_of(source) == Scope::Private)
        found.outside = Replay::Outside::PrivateNetwork;
      continue;
    }
    const auto& datagram = std::get<UdpDatagram>(*transport);
    if (datagram.source.port != kDns) continue;
    if (const auto answer = dns::parse_answer(datagram.payload)) found.answers.add(*answer);
  }
}

std::string count(std::uint64_t number, const char* one, const char* more) {
  return fmt::format("{} {}", number, number == 1 ? one : more);
}

void tell_summary(const Replay::Summary& s, std::uint64_t packets) {
  using engine::What;
  const auto happened = [&s](What what) { return s.engine.happened[static_cast<std::size_t>(what)]; };
  const auto say = [](const std::string& line) { std::fputs(("icqgate: " + line + "\n").c_str(), stderr); };
  say(fmt::format("{}; {}, {} opened; peers: {} let in, {} refused; outbound: {} verified, {} refused",
                  count(packets, "packet", "packets"),
                  count(happened(What::SessionOpened), "session", "sessions"),
                  count(happened(What::PinholeOpened), "pinhole", "pinholes"), happened(What::PeerVerified),
                  happened(What::PeerRefused) + s.no_pinhole + s.late, happened(What::OutboundVerified),
                  happened(What::OutboundRefused)));
  if (s.after_refusal > 0)
    say(fmt::format("{} passed in the capture on connections that would have been refused",
                    count(s.after_refusal, "segment with data", "segments with data")));
  if (s.mid_stream > 0)
    say(fmt::format(
        "{} to or from login servers on {} whose beginning is not in the capture: nothing is "
        "learned from these",
        count(s.mid_stream, "segment", "segments"), count(s.mid_stream_flows, "connection", "connections")));
  for (const auto& name : s.unknown_names)
    say(fmt::format("the capture has no DNS answer for {}: name the login server's address with --login-host",
                    name));
  if (s.sides_untold)
    say("both ends are private addresses: whoever connects to a login server was taken for inside; --client "
        "says who is");
}

}  // namespace

int trace(const std::vector<std::string>& arguments) {
  po::options_description own;
  own.add_options()("file", po::value<std::string>()->value_name("FILE"), "the capture")(
      "json", "an object per line instead of text")(
      "relative", "seconds since the capture's first packet instead of the time of day (UTC)")(
      "config", po::value<std::string>()->value_name("FILE"),
      "read the configuration from FILE (else none is read)")("help,h", "this text");
  const auto given = read_arguments(arguments, own, "file");
  if (!given) return wrong_usage("trace", given.error());
  if (given->has("help")) {
    help(own);
    return 0;
  }
  const auto path = given->text("file");
  if (!path) return wrong_usage("trace", "no capture file");
  const auto failed = [](const std::string& what) {
    std::fputs(("icqgate: " + what + "\n").c_str(), stderr);
    return 1;
  };
  const auto source = read_configuration(given->text("config"), DefaultFile::Ignore);
  if (!source) return failed(source.error());
  const auto config = parse(*source, given->configuration);
  if (!config) return wrong_configuration(config.error());

  const std::string name = *path == "-" ? "standard input" : *path;
  auto file = CaptureFile::open(*path);
  if (!file) return failed(name + ": " + file.error());
  auto first = file->read();
  if (!first) return failed(name + ": " + first.error());
  const FirstReading known = read_first(std::move(*first), Sides{config->clients});
  auto capture = file->read();
  if (!capture) return failed(name + ": " + capture.error());

  using Form = ReportLines::Form;
  ReportLines lines{given->has("json")       ? Form::Json
                    : given->has("relative") ? Form::RelativeText
                                             : Form::Text};
  Replay replay{*config, known.answers, known.outside,
                [&lines](engine::TimePoint at, std::string_view event, const std::string& sentence,
                         const engine::Report& report) {
                  lines.write(std::chrono::duration_cast<microseconds>(at.time_since_epoch()), event,
                              sentence, report);
                }};
  std::uint64_t packets = 0;
  std::string ended_early;
  for (;;) {
    const auto frame = capture->next();
    if (!frame) {
      ended_early = frame.error();
      break;
    }
    if (!*frame) break;
    ++packets;
    lines.start((*frame)->time);
    const auto packet = strip_link(capture->link(), (*frame)->bytes);
    if (!packet) continue;
    const auto transport = parse_packet(*packet);
    if (!transport) continue;
    if (const auto* segment = std::get_if<TcpSegment>(&*transport))
      replay.segment(*segment, engine::TimePoint{(*frame)->time});
  }
  if (std::fflush(stdout) != 0) return failed("standard output: cannot be written");
  tell_summary(replay.summary(), packets);
  if (!ended_early.empty()) return failed(name + ": ended early: " + ended_early);
  return 0;
}

}  // namespace icqgate::cli
