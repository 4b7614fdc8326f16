// Checks that every #include of the product's folders goes only where DESIGN.md section 4 allows.
// Not for linking: mg_library refuses a target that is not below (cmake/MergegaugeTargets.cmake).
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace mg::layering {

/// What the sources of one folder may include from this project, besides the folder itself and
/// kernels/core.
struct FolderRule {
  std::string_view
      folder;  // path prefix from the root; the longest that matches a file is its rule
  std::vector<std::string_view> may_include;  // path prefixes from the root
};

/// An outside header that only some folders may include.
struct OutsideRule {
  std::string_view header;                // prefix of what stands between < and >
  std::vector<std::string_view> folders;  // path prefixes from the root
};

const std::vector<FolderRule>& folder_rules();
const std::vector<OutsideRule>& outside_rules();

/// The violations of one source file: "path:line: what is wrong", in the file's order.
/// `path` is relative to the root; `text` is the file's content.
std::vector<std::string> check_source(std::string_view path, std::string_view text);

/// The violations of all .h, .cc, .cu and .cuh files below the product's folders of `root`, sorted
/// by path.
std::vector<std::string> check_tree(const std::filesystem::path& root);

}  // namespace mg::layering
