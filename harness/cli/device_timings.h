// `mergegauge devicetest`'s second half: what each operation takes on this machine, beside what it
// moves and computes.  Not for: whether results are right (kernels/contract/conformance.h).
#pragma once

#include <cstdint>

#include "kernels/backend.h"

namespace mg {

/// Prints a table: every operation at the sizes of a 7B model's layer, `rows` tokens.
void print_timings(Backend& backend, std::int64_t rows);

}  // namespace mg
