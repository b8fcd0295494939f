// SPDX-License-Identifier: GPL-2.0-or-later
#include <fmt/ostream.h>
#include <unistd.h>

#include <cstdio>

#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/host_facts.hpp"
#include "cli/replacement.hpp"
#include "config/ruleset_options.hpp"
#include "doctor/examine.hpp"
#include "sys/file.hpp"
#include "sys/ruleset_loader.hpp"

namespace icqgate::cli {

namespace po = boost::program_options;

namespace {

void help(const po::options_description& own) {
  std::fputs(
      fmt::format(
          "usage: icqgate check [--config FILE] [CONFIGURATION OPTIONS]\n\n"
          "Says everything that is wrong in the configuration, with line and column. As root it also "
          "shows the ruleset\nof the service to the kernel without loading it, and warns of interfaces that "
          "do "
          "not exist and ports of\nport-range that are taken (icqgate doctor looks at the rest).\n\n{}\n"
          "configuration, as KEY = VALUE in the file or here:\n{}\n"
          "examples:\n"
          "  icqgate check\n"
          "  icqgate check --config new.conf && cp new.conf {}\n"
          "  icqgate check --port-range 24000-24099 --lan eth1\n",
          fmt::streamed(own), config::options_help(), kDefaultFile)
          .c_str(),
      stdout);
}

}  // namespace

int check(const std::vector<std::string>& arguments) {
  po::options_description own;
  own.add_options()("config", po::value<std::string>()->value_name("FILE"),
                    fmt::format("read FILE instead of {} (no file there: defaults)", kDefaultFile).c_str())(
      "help,h", "this text");
  const auto given = read_arguments(arguments, own, "");
  if (!given) return wrong_usage("check", given.error());
  if (given->has("help")) {
    help(own);
    return 0;
  }
  const auto source = read_configuration(given->text("config"), DefaultFile::ReadIfThere);
  if (!source) {
    std::fputs(fmt::format("icqgate: {}\n", source.error()).c_str(), stderr);
    return 1;
  }
  const auto config = config::parse(source->text, source->file, given->configuration);
  if (!config) {
    wrong_configuration(config.error());
    return 1;  // the values are what this command judges: a wrong one is a finding, not a misuse
  }
  if (const auto why = sys::no_place_for_file(config->state); !config->state.empty() && !why.empty()) {
    std::fputs(fmt::format("icqgate: state: '{}' {}; expected the path of a file of icqgate's own, or none\n",
                           config->state, why)
                   .c_str(),
               stderr);
    return 1;
  }
  const bool asked = ::geteuid() == 0;
  if (asked) {
    const auto options = config::ruleset_options(*config);
    const auto loaded = sys::load_ruleset(
        replacement_of(options.table) + nft::dynamic_ruleset(options, nft::Loading::Awake), sys::DryRun::Yes);
    if (!loaded) {
      std::fputs(fmt::format("icqgate: the kernel does not take the ruleset:\n{}\n", loaded.error()).c_str(),
                 stderr);
      return 1;
    }
    for (const auto& finding :
         doctor::examine_configuration(*config, configuration_facts(*config, source->file)))
      std::fputs(fmt::format("icqgate: warning: {}; {}\n", finding.what, finding.follows).c_str(), stderr);
  }
  const bool there = !source->file.empty();
  std::puts(fmt::format(
                "{}: ok{}", there ? source->file : "no file, defaults",
                asked ? ", and the kernel takes the ruleset" : " (the kernel was not asked: that needs root)")
                .c_str());
  return 0;
}

}  // namespace icqgate::cli
