// Puts an adapter file's tensors together: pairs by module, replacements, and everything in which
// they disagree with the config.  Internal to harness/io; Adapter::open calls it.
#pragma once

#include <string>
#include <vector>

#include "harness/io/adapter.h"

namespace mg {

struct AdapterParts {
  std::vector<AdapterModule> modules;  // sorted by module
  std::vector<AdapterReplacement> replacements;
  std::vector<std::string> unrecognised;
  std::vector<ErrorParts> problems;
  std::string name_in_file;
};

AdapterParts collect_parts(const AdapterConfig& config, const SafetensorsFile& file);

}  // namespace mg
