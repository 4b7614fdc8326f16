#include "harness/io/tokenizer/split_behavior.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace mg {
namespace {

struct Part {
  TextRange range;
  bool delimiter;
};

// The whole text as matches and what lies between them.  Empty matches count as parts: they
// separate, although they leave no text behind.
std::vector<Part> all_parts(const std::vector<TextRange>& matches, std::size_t size,
                            bool inverted) {
  std::vector<Part> parts;
  parts.reserve(matches.size() * 2 + 1);
  std::size_t at = 0;
  for (const TextRange& match : matches) {
    if (at != match.begin) {
      parts.push_back({{at, match.begin}, inverted});
    }
    parts.push_back({match, !inverted});
    at = match.end;
  }
  if (at != size) {
    parts.push_back({{at, size}, inverted});
  }
  return parts;
}

// Joins each delimiter to its neighbour; of several in a row only the nearest.  `parts` is walked
// in the given order.
template <typename Iterator, typename Join>
std::vector<TextRange> merge(Iterator begin, Iterator end, Join join) {
  std::vector<TextRange> out;
  bool after_delimiter = false;
  for (; begin != end; ++begin) {
    if (begin->delimiter && !after_delimiter && !out.empty()) {
      join(out.back(), begin->range);
    } else {
      out.push_back(begin->range);
    }
    after_delimiter = begin->delimiter;
  }
  return out;
}

std::vector<TextRange> contiguous(const std::vector<Part>& parts) {
  std::vector<TextRange> out;
  bool after_delimiter = false;
  for (const Part& part : parts) {
    if (part.delimiter == after_delimiter && !out.empty()) {
      out.back().end = part.range.end;
    } else {
      out.push_back(part.range);
    }
    after_delimiter = part.delimiter;
  }
  return out;
}

}  // namespace

SplitBehavior read_split_behavior(const Component& component) {
  static constexpr std::array<std::pair<std::string_view, SplitBehavior>, 5> kNames = {
      {{"Removed", SplitBehavior::kRemoved},
       {"Isolated", SplitBehavior::kIsolated},
       {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
       {"MergedWithNext", SplitBehavior::kMergedWithNext},
       {"Contiguous", SplitBehavior::kContiguous}}};
  const std::string name = component.text("behavior");
  for (const auto& [known, behavior] : kNames) {
    if (name == known) {
      return behavior;
    }
  }
  component.at("behavior")
      .bad("Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

void split_at(const std::vector<TextRange>& matches, std::size_t size, SplitBehavior behavior,
              bool inverted, std::vector<TextRange>& parts) {
  const std::vector<Part> all = all_parts(matches, size, inverted);
  std::vector<TextRange> cut;
  switch (behavior) {
    case SplitBehavior::kRemoved:
    case SplitBehavior::kIsolated:
      for (const Part& part : all) {
        if (!part.delimiter || behavior == SplitBehavior::kIsolated) {
          cut.push_back(part.range);
        }
      }
      break;
    case SplitBehavior::kMergedWithPrevious:
      cut = merge(all.begin(), all.end(),
                  [](TextRange& last, const TextRange& next) { last.end = next.end; });
      break;
    case SplitBehavior::kMergedWithNext:
      cut = merge(all.rbegin(), all.rend(),
                  [](TextRange& last, const TextRange& next) { last.begin = next.begin; });
      std::reverse(cut.begin(), cut.end());
      break;
    case SplitBehavior::kContiguous:
      cut = contiguous(all);
      break;
  }
  std::copy_if(cut.begin(), cut.end(), std::back_inserter(parts),
               [](const TextRange& part) { return part.begin < part.end; });
}

}  // namespace mg
