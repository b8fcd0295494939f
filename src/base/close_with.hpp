// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

namespace icqgate {

// The deleter of a std::unique_ptr that owns a C handle: one alias per C type stands on it.
template <auto close>
struct CloseWith {
  template <class T>
  void operator()(T* handle) const noexcept {
    close(handle);
  }
};

}  // namespace icqgate
