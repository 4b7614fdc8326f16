// Names a wrong multiple k of the adapter's scale (docs/reference/failures.md section 1).
// Tested in tests/audit.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "harness/audit/diagnosis.h"

namespace mg {

struct NamedScale {
  double k = 0;
  std::vector<std::string> catalogue;
  std::string name;  // "merged twice"
};

/// Every multiple that a known mistake makes of this module's scale, 1 left out.
std::vector<NamedScale> named_scales(const AdapterConfig& config, const AdapterModule& module);

/// The multiple of the scale that the tensor holds, where one other than 1 explains it under some
/// recipe.
std::optional<Diagnosis> scale_story(const TargetCase& c);

}  // namespace mg
