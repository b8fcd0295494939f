// SPDX-License-Identifier: GPL-2.0-or-later
// icqgate's own way of writing elements (src/nft/batch.hpp, src/sys/nfnetlink.hpp), used as
// src/daemon/table.cpp uses it: a Change for each element, all of them one batch, one transaction.
//
// usage: updates TABLE ELEMENTS BATCHES fresh|known
//        fresh: new elements, taken out again after each transaction; known: the timeout of elements that are
//        in the set is given anew
// prints {"messages": of one element, "times": [ns for one transaction, ...]}
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "nft/batch.hpp"
#include "sys/nfnetlink.hpp"

namespace {

using namespace icqgate;
using namespace std::chrono_literals;
using Kind = nft::Change::Kind;
using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kFirstAddress = 0xc6120000;  // 198.18.0.0

std::vector<nft::Change> changes(std::uint32_t count, Kind kind, std::chrono::minutes timeout) {
  std::vector<nft::Change> all;
  for (std::uint32_t i = 0; i < count; ++i)
    all.push_back({kind, nft::Element::login({IpAddress{Ipv4{kFirstAddress + i}}, Port{5190}}), timeout});
  return all;
}

struct Run {
  sys::NftSocket socket;
  std::string table;
  std::size_t messages = 0;

  void apply(const std::vector<nft::Change>& all) {
    nft::Batch batch{table, nft::UpdateForm::InPlace};
    for (const nft::Change& change : all) batch.change(change);
    messages = batch.messages();
    if (const auto sent = socket.send_batch(batch.finish()); !sent) {
      std::fprintf(stderr, "%s\n", to_string(sent.error()).c_str());
      std::exit(1);
    }
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: %s TABLE ELEMENTS BATCHES fresh|known\n", argv[0]);
    return 2;
  }
  const auto count = static_cast<std::uint32_t>(std::strtoul(argv[2], nullptr, 10));
  const std::size_t batches = std::strtoul(argv[3], nullptr, 10);
  const bool fresh = std::string_view{argv[4]} == "fresh";
  auto socket = sys::NftSocket::open();
  if (count == 0 || !socket) {
    std::fprintf(stderr, "no elements, or no netlink socket\n");
    return 1;
  }
  Run run{std::move(*socket), argv[1]};
  // As the engine asks for it: what is known to be new is added, all else renewed (Table::apply).
  // Longer and shorter timeouts by turns: it can be seen afterwards that the last one took.
  const Kind kind = fresh ? Kind::Add : Kind::Renew;
  const std::array wanted{changes(count, kind, 10min), changes(count, kind, 11min)};
  const auto removal = changes(count, Kind::Remove, 10min);
  std::vector<std::int64_t> times;
  run.apply(fresh ? removal : wanted[1]);
  for (std::size_t i = 0; i < batches; ++i) {
    const auto start = Clock::now();
    run.apply(wanted[i % 2]);
    times.push_back(std::chrono::nanoseconds{Clock::now() - start}.count());
    if (i == 0) std::printf("{\"messages\": %g, \"times\": [", static_cast<double>(run.messages) / count);
    std::printf("%s%lld", i == 0 ? "" : ",", static_cast<long long>(times.back()));
    if (fresh && i + 1 < batches) run.apply(removal);
  }
  std::printf("]}\n");
  return 0;
}
