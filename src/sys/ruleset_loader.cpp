// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/ruleset_loader.hpp"

#include <nftables/libnftables.h>

#include <memory>

#include "sys/handles.hpp"

namespace icqgate::sys {

namespace {
using NftContext = std::unique_ptr<nft_ctx, CloseWith<&nft_ctx_free>>;
}

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

}  // namespace icqgate::sys
