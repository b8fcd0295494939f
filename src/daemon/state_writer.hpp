// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "engine/saved.hpp"

namespace icqgate::daemon {

// Writes the state file on a thread of its own: a disk that takes its time does not come between a packet and
// its verdict. A value that still waits when the next one comes is never written. Signals stay with the other
// threads; the one for a file that grew too long (SIGXFSZ) becomes an error like others.
class StateWriter {
 public:
  // Touches nothing yet. The file's folder is made with the first write if it is missing. No thread to be
  // had: a problem like others, and nothing is written.
  explicit StateWriter(std::string path);
  // Writes what waits. Takes as long as the disk does.
  ~StateWriter();
  StateWriter(const StateWriter&) = delete;
  StateWriter& operator=(const StateWriter&) = delete;

  // To be written as made now, soon. Does not wait.
  void submit(engine::Saved saved);
  // Waits until everything submitted before is on the disk, or has failed.
  void flush();

  // What changed since the last call: why the file could not be written, in words with its path; "" once it
  // could again. nullopt: nothing changed, the same problem still there included.
  [[nodiscard]] std::optional<std::string> take_problem();

 private:
  struct Job {
    engine::Saved saved;
    std::chrono::system_clock::time_point made;
  };
  void work();
  [[nodiscard]] std::string write(const Job& job) const;

  const std::string path_;
  std::mutex mutex_;  // for what follows, down to the thread
  std::condition_variable changed_;
  std::optional<Job> waiting_;
  bool writing_ = false;
  bool ending_ = false;
  std::string problem_, told_;  // as it is, and as take_problem() last told it
  std::thread worker_;          // last: it uses the members above
};

}  // namespace icqgate::daemon
