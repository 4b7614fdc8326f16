// Evaluates the small expressions in which TensorRules give their shapes: "N*D + 2*G*D, H".
// Grammar: dimensions separated by commas; + - * / (exact division), parentheses, integers, words
// of letters and dots.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "kernels/core/shape.h"

namespace mg {

/// `value_of` gives a word's value.  The expressions are part of the program: a malformed one, or a
/// division that leaves a rest, is an internal error (MG_CHECK), and a test evaluates them all.
Shape evaluate_shape(std::string_view expression,
                     const std::function<std::int64_t(std::string_view word)>& value_of);

}  // namespace mg
