// A file whose bytes are part of the program (cmake/MergegaugeEmbed.cmake writes the tables).
#pragma once

#include <string_view>

namespace mg {

struct EmbeddedFile {
  std::string_view path;  // below the embedded folder: "base/config.json"
  const char* begin;
  const char* end;

  std::string_view bytes() const { return {begin, end}; }
};

}  // namespace mg
