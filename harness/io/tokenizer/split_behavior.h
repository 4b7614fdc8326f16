// What becomes of the text that a delimiter matches: the reference's SplitDelimiterBehavior.
#pragma once

#include <cstddef>
#include <vector>

#include "harness/io/tokenizer/component.h"
#include "harness/io/tokenizer/regex.h"

namespace mg {

enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// Reads the member `behavior`.  Throws Error "tokenizer.bad-component".
SplitBehavior read_split_behavior(const Component& component);

/// Cuts [0, size) at `matches` (in order, not overlapping) and appends the non-empty parts to
/// `parts`. `inverted` makes what lies between the matches the delimiter.
void split_at(const std::vector<TextRange>& matches, std::size_t size, SplitBehavior behavior,
              bool inverted, std::vector<TextRange>& parts);

}  // namespace mg
