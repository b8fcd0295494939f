// SPDX-License-Identifier: GPL-2.0-or-later
#include "daemon/state_writer.hpp"

#include <cerrno>
#include <filesystem>
#include <utility>

#include "daemon/state_file.hpp"
#include "sys/file.hpp"
#include "sys/thread.hpp"

namespace icqgate::daemon {

StateWriter::StateWriter(std::string path) : path_{std::move(path)} {
  auto thread = sys::start_thread([this] { work(); });
  if (thread) {
    worker_ = std::move(*thread);
  } else {  // the service goes on without
    const std::lock_guard lock{mutex_};
    problem_ = path_ + ": no thread to write it: " + to_string(thread.error());
  }
}

StateWriter::~StateWriter() {
  {
    const std::lock_guard lock{mutex_};
    ending_ = true;
  }
  changed_.notify_all();
  if (worker_.joinable()) worker_.join();
}

void StateWriter::submit(engine::Saved saved) {
  if (!worker_.joinable()) return;
  std::optional<Job> job{Job{std::move(saved), std::chrono::system_clock::now()}};
  {
    const std::lock_guard lock{mutex_};
    waiting_.swap(job);
  }
  changed_.notify_all();  // what was not written any more goes with `job`, outside the lock
}

void StateWriter::flush() {
  std::unique_lock lock{mutex_};
  changed_.wait(lock, [this] { return !waiting_ && !writing_; });
}

std::optional<std::string> StateWriter::take_problem() {
  const std::lock_guard lock{mutex_};
  if (problem_ == told_) return std::nullopt;
  told_ = problem_;
  return told_;
}

void StateWriter::work() {
  std::unique_lock lock{mutex_};
  while (true) {
    changed_.wait(lock, [this] { return waiting_ || ending_; });
    if (!waiting_) return;
    const Job job = std::move(*std::exchange(waiting_, std::nullopt));
    writing_ = true;
    lock.unlock();
    auto problem = write(job);
    lock.lock();
    writing_ = false;
    problem_ = std::move(problem);
    changed_.notify_all();
  }
}

std::string StateWriter::write(const Job& job) const {
  const std::string text = encode_state(job.saved, job.made);
  auto done = sys::write_file_atomically(path_, text);
  if (!done && done.error().code == ENOENT) {
    done = sys::make_private_directory(std::filesystem::path{path_}.parent_path().string());
    if (done) done = sys::write_file_atomically(path_, text);
  }
  return done ? std::string{} : path_ + ": " + to_string(done.error());
}

}  // namespace icqgate::daemon
