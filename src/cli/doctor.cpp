// SPDX-License-Identifier: GPL-2.0-or-later
#include <fmt/ostream.h>
#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/host_facts.hpp"
#include "doctor/examine.hpp"

namespace icqgate::cli {

namespace po = boost::program_options;

namespace {

void help(const po::options_description& own) {
  std::fputs(
      fmt::format(
          "usage: icqgate doctor [--json] [--config FILE] [CONFIGURATION OPTIONS]\n\n"
          "Looks at this host, as root, for what is in ICQ's way: other tables' rules, interfaces, "
          "sysctls, listeners, queues,\nDNS. Each finding comes with what follows from it and a command "
          "that helps. Changes nothing.\nExit status: 0 nothing found, 1 findings (or it can't look), 2 "
          "wrong usage.\n\n{}\n"
          "configuration, as KEY = VALUE in the file or here:\n{}\n"
          "examples:\n"
          "  icqgate doctor\n"
          "  icqgate doctor --masquerade yes --lan br-lan --wan ppp0\n"
          "  icqgate doctor --json | jq -r '.findings[].remedy'\n",
          fmt::streamed(own), config::options_help())
          .c_str(),
      stdout);
}

std::string for_people(const std::vector<doctor::Finding>& findings) {
  std::string out;
  std::size_t number = 0;
  for (const auto& one : findings) {
    out += fmt::format("{}{}. {}\n", number == 0 ? "" : "\n", number + 1, one.what);
    ++number;
    const auto line = [&](const char* title, const std::string& text) {
      if (!text.empty()) out += fmt::format("   {:<8}{}\n", title, text);
    };
    line("rule", one.rule);
    line("so", one.follows);
    line("remedy", one.remedy);
    line("to keep", one.keep);
  }
  return out.empty() ? "nothing found that is in ICQ's way\n" : out;
}

std::string for_programs(const std::vector<doctor::Finding>& findings) {
  auto list = nlohmann::ordered_json::array();
  for (const auto& one : findings)
    list.push_back({{"kind", one.kind},
                    {"certain", one.certain},
                    {"what", one.what},
                    {"rule", one.rule},
                    {"follows", one.follows},
                    {"remedy", one.remedy},
                    {"keep", one.keep}});
  const nlohmann::ordered_json all{{"version", ICQGATE_VERSION}, {"findings", std::move(list)}};
  return all.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

int doctor(const std::vector<std::string>& arguments) {
  po::options_description own;
  own.add_options()("json", "as JSON, for programs")(
      "config", po::value<std::string>()->value_name("FILE"),
      fmt::format("read FILE instead of {} (no file there: defaults)", kDefaultFile).c_str())("help,h",
                                                                                              "this text");
  const auto given = read_arguments(arguments, own, "");
  if (!given) return wrong_usage("doctor", given.error());
  if (given->has("help")) {
    help(own);
    return 0;
  }
  const auto failed = [](const std::string& what) {
    std::fputs(("icqgate: " + what + "\n").c_str(), stderr);
    return 1;
  };
  const auto source = read_configuration(given->text("config"), DefaultFile::ReadIfThere);
  if (!source) return failed(source.error());
  const auto config = config::parse(source->text, source->file, given->configuration);
  if (!config) return wrong_configuration(config.error());
  if (::geteuid() != 0) return failed("doctor looks at other programs' tables: that needs root");

  auto facts = host_facts(*config, source->file);
  const auto ruleset = foreign_ruleset(*config, facts);
  if (!ruleset) return failed("the ruleset can't be read: " + ruleset.error());
  const auto findings = doctor::examine({*ruleset, *config, facts});
  const std::string text = given->has("json") ? for_programs(findings) : for_people(findings);
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    return failed("standard output: cannot be written");
  return findings.empty() ? 0 : 1;
}

}  // namespace icqgate::cli
