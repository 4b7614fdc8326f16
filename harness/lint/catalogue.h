// Who finds which entry of docs/reference/failures.md: F01..F65, none without an owner.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mg::lint {

struct CatalogueEntry {
  std::string_view id;     // "F07"
  std::string_view title;  // of the catalogue
  // What other commands call it, "audit.not-merged audit.partly-merged"; empty where lint alone
  // sees it.
  std::string_view audit;
  std::string_view compare;
  std::string_view remark;  // where neither a header nor a tensor shows it
};

std::span<const CatalogueEntry> catalogue();

/// The ids of the lint rules on this entry.
std::vector<std::string> lint_rules_on(std::string_view id);

}  // namespace mg::lint
