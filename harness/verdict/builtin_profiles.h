// The texts of configs/gates/*.json inside the program, so that it needs no installed data. Private
// to this folder.
#pragma once

#include <span>
#include <string_view>

namespace mg {

struct BuiltinProfile {
  std::string_view name;
  std::string_view json;
};

std::span<const BuiltinProfile> builtin_profile_texts();

}  // namespace mg
