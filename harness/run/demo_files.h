// The demo's files as bytes of the program.  demo_files.S holds them; CMake writes the table.
#pragma once

#include <span>
#include <string_view>

namespace mg {

struct DemoFile {
  std::string_view path;  // "base/config.json"
  const char* begin;
  const char* end;
};

std::span<const DemoFile> demo_files();

}  // namespace mg
