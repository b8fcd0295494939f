// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <tl/expected.hpp>

namespace icqgate {

// The outcome of something that may fail in an expected way: a value, or why there is none.
// Functions returning one are [[nodiscard]]. A failure is returned as tl::make_unexpected(error).
template <class T, class E>
using Result = tl::expected<T, E>;

}  // namespace icqgate
