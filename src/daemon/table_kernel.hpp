// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "config/config.hpp"
#include "nft/batch.hpp"
#include "nft/compiled.hpp"
#include "nft/inspect.hpp"
#include "nft/ruleset.hpp"
#include "sys/nfnetlink.hpp"

// What `Table` asks the kernel: each a few requests and their answers.
namespace icqgate::daemon {

// The same in words, without the number of the message to blame: that differs from one try to the next, and
// what stays the same is to be told once.
[[nodiscard]] std::string without_place(const sys::NftError& error);

// The table of that name; nullopt if there is none.
[[nodiscard]] Result<std::optional<nft::TableInfo>, std::string> look(sys::NftSocket& socket,
                                                                      const std::string& table);

// All of it but the elements that come and go.
[[nodiscard]] Result<nft::CompiledRuleset, std::string> read_ruleset(sys::NftSocket& socket,
                                                                     const std::string& table);

// Those of the sets that the service fills. A set that is not there has none.
[[nodiscard]] Result<std::vector<nft::Dumped>, std::string> read_elements(sys::NftSocket& socket,
                                                                          const std::string& table);

// Deletes the table when it goes, if it is there.
class ScratchTable {
 public:
  ScratchTable(sys::NftSocket& socket, std::string name) : socket_{&socket}, name_{std::move(name)} {}
  ScratchTable(ScratchTable&& other) noexcept
      : socket_{std::exchange(other.socket_, nullptr)}, name_{std::move(other.name_)} {}
  ScratchTable& operator=(ScratchTable&&) = delete;
  ~ScratchTable();

 private:
  sys::NftSocket* socket_;
  std::string name_;
};

// The ruleset of a configuration as the kernel understands it, queue rules included. It is loaded once into a
// table beside ours, dormant, which hooks nothing; read back; and removed. On the way it shows which forms
// this kernel takes.
struct Compiled {
  nft::CompiledRuleset ruleset;
  nft::QueueForm queue_form{};
  nft::UpdateForm update_form{};
  // To go when the ruleset is in force, not before: the kernel lets whoever adds an xt target wait until what
  // was deleted before is gone for good (15 ms).
  ScratchTable scratch;
};
[[nodiscard]] Result<Compiled, std::string> compile(sys::NftSocket& socket, const config::Config& config);

// The flags of an owned table: NFT_TABLE_F_OWNER, with kPersist where the kernel has it; 0 if it knows
// neither (before Linux 5.12).
[[nodiscard]] std::uint32_t owner_flags(sys::NftSocket& socket, const std::string& table);

}  // namespace icqgate::daemon
