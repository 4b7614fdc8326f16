// Names of enumerators, one table per enum: the strings of report.json in both directions.
// Private to harness/result.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>
#include <utility>

namespace mg {

template <typename Enum, std::size_t kCount>
using NameTable = std::array<std::pair<Enum, std::string_view>, kCount>;

template <typename Enum, std::size_t kCount>
std::string_view name_in(const NameTable<Enum, kCount>& table, Enum value) {
  for (const auto& [entry, name] : table) {
    if (entry == value) {
      return name;
    }
  }
  return "unknown";
}

template <typename Enum, std::size_t kCount>
std::optional<Enum> value_in(const NameTable<Enum, kCount>& table, std::string_view name) {
  for (const auto& [entry, entry_name] : table) {
    if (entry_name == name) {
      return entry;
    }
  }
  return std::nullopt;
}

}  // namespace mg
