// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/ruleset_loader.hpp"

#include <fcntl.h>
#include <nftables/libnftables.h>
#include <unistd.h>

#include <memory>

#include "sys/handles.hpp"
#include "sys/unique_fd.hpp"

namespace icqgate::sys {

namespace {
using NftContext = std::unique_ptr<nft_ctx, CloseWith<&nft_ctx_free>>;

// libxtables, which libnftables has translate xt statements, writes "unhandled NFPROTO" to stderr for each
// one in an inet table; nothing can tell it not to.
class QuietStderr {
 public:
  QuietStderr() : saved_{::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3)} {
    const UniqueFd null{::open("/dev/null", O_WRONLY | O_CLOEXEC)};
    if (saved_ && null) ::dup2(null.get(), STDERR_FILENO);
  }
  QuietStderr(const QuietStderr&) = delete;
  QuietStderr& operator=(const QuietStderr&) = delete;
  ~QuietStderr() {
    if (saved_) ::dup2(saved_.get(), STDERR_FILENO);
  }

 private:
  UniqueFd saved_;
};

}  // namespace

Result<Done, std::string> load_ruleset(const std::string& text, DryRun dry_run) {
  const NftContext context{nft_ctx_new(NFT_CTX_DEFAULT)};
  if (!context) return tl::make_unexpected(std::string{"libnftables does not start"});
  nft_ctx_set_dry_run(context.get(), dry_run == DryRun::Yes);
  // Both, or libnftables writes to our stdout and stderr.
  if (nft_ctx_buffer_output(context.get()) != 0 || nft_ctx_buffer_error(context.get()) != 0) {
    return tl::make_unexpected(std::string{"libnftables: out of memory"});
  }
  if (nft_run_cmd_from_buffer(context.get(), text.c_str()) == 0) return Done{};
  const char* const words = nft_ctx_get_error_buffer(context.get());
  return tl::make_unexpected(
      std::string{words != nullptr && *words != '\0' ? words : "refused without a word"});
}

Result<RulesetListing, std::string> list_ruleset() {
  RulesetListing listing;
  const QuietStderr quiet;
  for (const bool json : {true, false}) {
    const NftContext context{nft_ctx_new(NFT_CTX_DEFAULT)};
    if (!context) return tl::make_unexpected(std::string{"libnftables does not start"});
    unsigned flags = NFT_CTX_OUTPUT_HANDLE | NFT_CTX_OUTPUT_STATELESS;
    if (json) flags |= NFT_CTX_OUTPUT_JSON;
    nft_ctx_output_set_flags(context.get(), flags);
    if (nft_ctx_buffer_output(context.get()) != 0 || nft_ctx_buffer_error(context.get()) != 0)
      return tl::make_unexpected(std::string{"libnftables: out of memory"});
    if (nft_run_cmd_from_buffer(context.get(), "list ruleset") != 0) {
      const char* const words = nft_ctx_get_error_buffer(context.get());
      return tl::make_unexpected(
          std::string{words != nullptr && *words != '\0' ? words : "no ruleset, without a word"});
    }
    const char* const text = nft_ctx_get_output_buffer(context.get());
    (json ? listing.json : listing.text) = text != nullptr ? text : "";
  }
  return listing;
}

}  // namespace icqgate::sys
