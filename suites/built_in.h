// The suites that are part of the program, as `mergegauge suites` lists them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "suites/suite.h"

namespace mg {

struct BuiltInSuite {
  std::string_view name;
  std::int64_t prompts = 0;
  std::int64_t tokens = 0;       // written suites: with the tokenizer of SmolLM2-Instruct
  std::string_view description;  // one line
};

/// In the order of the list.  tests/suites keeps the counts true.
const std::vector<BuiltInSuite>& built_in_suites();

/// A suite written for this project (a folder of suites/), or nothing where none has this name.
std::optional<Suite> written_suite(std::string_view name);

}  // namespace mg
