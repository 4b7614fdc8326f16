// One planted fault a row, and what must be found: the acceptance table of the lint rules.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "tests/lint/world.h"

namespace mg::lint {

struct Case {
  std::string rule;    // the one rule that finds it
  std::string name;    // "two-words", unique with the rule
  std::string source;  // "golden/qwen2"
  std::function<void(World&)> plant;
  bool repairable = false;
  std::function<void(World&)> good = {};  // a near miss that must be quiet; none: the source itself
  std::string server = {};
};

std::span<const Case> file_cases();
std::span<const Case> tensor_cases();
std::span<const Case> config_cases();
std::span<const Case> tokenizer_cases();
std::span<const Case> adapter_cases();
std::span<const Case> gguf_cases();

/// All of them.
std::vector<Case> all_cases();

}  // namespace mg::lint
