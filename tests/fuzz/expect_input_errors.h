// What every fuzz target promises: any bytes end in a value or in an Error about the input.  An
// internal Error or another exception is a bug and ends the run.
#pragma once

#include <cstdlib>
#include <string_view>

#include "kernels/core/error.h"

namespace mg {

template <typename Action>
void expect_input_errors(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    const bool explained = !error.parts().code.empty() && !error.parts().what.empty();
    if (error.kind() != ErrorKind::kInput || !explained) {
      std::abort();
    }
  }
}

inline void require(bool property) {
  if (!property) {
    std::abort();
  }
}

}  // namespace mg
