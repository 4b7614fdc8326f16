// Which modules of a base PEFT would wrap for an adapter's config, compared with the modules its
// file holds. Tested against PEFT's own choice in tests/model/targets_test.cc.
#pragma once

#include <string>
#include <vector>

#include "harness/io/adapter.h"
#include "harness/model/base_index.h"

namespace mg {

struct TargetCheck {
  std::vector<std::string> expected;  // canonical module paths that the config targets, sorted
  std::vector<std::string> missing;   // targeted, without a pair in the file
  std::vector<std::string> extra;     // a pair in the file, not targeted: PEFT would not load it
};

/// By peft.tuners.tuners_utils.check_target_module_exists over the base's modules, named in the
/// generation of names that the adapter uses.  Left out on both sides, because names alone do not
/// decide: routers of experts (a linear layer in transformers 4, none in 5) and, where
/// target_parameters says how experts are adapted, the experts.
TargetCheck check_targets(const Adapter& adapter, const BaseIndex& base);

/// A canonical module path as the adapter's generation of names spells it.
enum class NameGeneration { kFlat, kNested, kOld };
NameGeneration generation_of(const Adapter& adapter);
std::string in_generation(std::string_view canonical, NameGeneration generation, bool has_vision);

}  // namespace mg
