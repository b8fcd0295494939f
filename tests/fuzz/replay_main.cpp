// SPDX-License-Identifier: GPL-2.0-or-later
// Runs a fuzz target over the files of the folders named, and over cut and bit-flipped forms of each (a fixed
// sequence: the same inputs every time), so that the seeds count in every build without libFuzzer.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int count, char** arguments) {
  std::size_t files = 0;
  std::size_t runs = 0;
  for (int i = 1; i < count; ++i) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator{arguments[i]}) {
      if (!entry.is_regular_file()) continue;
      std::ifstream file{entry.path(), std::ios::binary};
      std::vector<std::uint8_t> seed{std::istreambuf_iterator<char>{file}, {}};
      ++files;
      const auto run = [&runs](const std::vector<std::uint8_t>& input) {
        // A copy of exact size, so that the sanitizers see a read beyond its end.
        const std::vector<std::uint8_t> exact(input.begin(), input.end());
        LLVMFuzzerTestOneInput(exact.data(), exact.size());
        ++runs;
      };
      run(seed);
      std::uint32_t state = 2463534242;  // xorshift: nothing random about it, on purpose
      const auto next = [&state] {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        return state;
      };
      for (int round = 0; round < 200 && !seed.empty(); ++round) {
        auto mutant = seed;
        const auto flips = 1 + next() % 4;
        for (std::uint32_t flip = 0; flip < flips; ++flip)
          mutant[next() % mutant.size()] = static_cast<std::uint8_t>(next());
        if (round % 3 == 0) mutant.resize(next() % (mutant.size() + 1));
        run(mutant);
      }
    }
  }
  std::printf("%zu seeds, %zu inputs\n", files, runs);
  return files == 0 ? 1 : 0;  // a target without seeds is a target that was not run
}
