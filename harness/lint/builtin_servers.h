// The texts of configs/servers/*.json inside the program.  Private to this folder.
#pragma once

#include <span>
#include <string_view>

namespace mg::lint {

struct BuiltinServer {
  std::string_view name;
  std::string_view json;
};

std::span<const BuiltinServer> builtin_servers();

}  // namespace mg::lint
