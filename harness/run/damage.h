// Merges with planted faults, to show that each is caught: for `check --demo --break`, and for
// tests.
#pragma once

#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "harness/run/models.h"
#include "kernels/core/parallel.h"

namespace mg {

enum class Damage {
  kNone,       // the right merge, rounded once
  kTwice,      // the delta added twice
  kDropLayer,  // the middle layer left at the base
  kTranspose,  // the delta of square matrices transposed
  kBf16,       // merged in BF16 on the way to the stored dtype
  kBase,       // nothing merged
  kScale2,     // 2 % too much of the delta
};

struct DamageName {
  std::string_view name;  // as `--break` takes it
  Damage damage;
  std::string_view story;  // one line for people
};
const std::vector<DamageName>& damages();
/// Throws a usage Error "demo.unknown-damage" naming those known.
Damage damage_from_name(std::string_view name);

/// Writes base + adapter, damaged, as a one-file checkpoint into `out` (created), with base's JSON
/// files beside it.
void write_damaged_merge(const OpenModel& base, const OpenAdapter& adapter, Damage damage,
                         const std::filesystem::path& out, ThreadPool& pool);

}  // namespace mg
