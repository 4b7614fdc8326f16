#include "tests/layering/layering.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <optional>

namespace mg::layering {
namespace {

struct Include {
  int line = 0;
  bool quoted = false;  // "x" rather than <x>
  std::string path;
};

bool below(std::string_view path, std::string_view prefix) {
  if (!path.starts_with(prefix)) {
    return false;
  }
  // "harness/io" is neither "harness/iota" nor "harness/io2/x.h"; but it covers the file
  // "harness/io.h".
  return path.size() == prefix.size() || prefix.ends_with('/') || path[prefix.size()] == '/' ||
         path[prefix.size()] == '.';
}

bool below_any(std::string_view path, const std::vector<std::string_view>& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [path](std::string_view prefix) { return below(path, prefix); });
}

const FolderRule* rule_for(std::string_view path) {
  const FolderRule* best = nullptr;
  for (const FolderRule& rule : folder_rules()) {
    if (below(path, rule.folder) && (!best || rule.folder.size() > best->folder.size())) {
      best = &rule;
    }
  }
  return best;
}

std::string_view skip_blanks(std::string_view text) {
  const std::size_t start = text.find_first_not_of(" \t");
  return start == std::string_view::npos ? std::string_view{} : text.substr(start);
}

std::optional<Include> parse_include(std::string_view line, int number) {
  line = skip_blanks(line);
  if (!line.starts_with('#')) {
    return std::nullopt;
  }
  line = skip_blanks(line.substr(1));
  if (!line.starts_with("include")) {
    return std::nullopt;
  }
  line = skip_blanks(line.substr(7));
  const bool quoted = line.starts_with('"');
  const std::size_t end = line.empty() ? std::string_view::npos : line.find(quoted ? '"' : '>', 1);
  if (end == std::string_view::npos) {
    return std::nullopt;
  }
  return Include{number, quoted, std::string(line.substr(1, end - 1))};
}

std::vector<Include> includes_of(std::string_view text) {
  std::vector<Include> includes;
  for (int number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    if (auto include = parse_include(text.substr(0, end), number)) {
      includes.push_back(std::move(*include));
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return includes;
}

std::optional<std::string> violation(const FolderRule& rule, const Include& include) {
  if (include.quoted) {
    if (below(include.path, rule.folder) || below(include.path, "kernels/core") ||
        below_any(include.path, rule.may_include)) {
      return std::nullopt;
    }
    if (!rule_for(include.path)) {
      return fmt::format("includes \"{}\", which is no path of the product from the root",
                         include.path);
    }
    return fmt::format("{} may not include \"{}\"", rule.folder, include.path);
  }
  for (const OutsideRule& outside : outside_rules()) {
    if (include.path.starts_with(outside.header) && !below_any(rule.folder, outside.folders)) {
      return fmt::format("{} may not include <{}>", rule.folder, include.path);
    }
  }
  return std::nullopt;
}

std::string content_of(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

bool is_source(const std::filesystem::path& file) {
  const auto kind = file.extension();
  return kind == ".h" || kind == ".cc" || kind == ".cu" || kind == ".cuh";
}

}  // namespace

std::vector<std::string> check_source(std::string_view path, std::string_view text) {
  const FolderRule* rule = rule_for(path);
  if (!rule) {
    return {fmt::format("{}: stands in no folder of tests/layering/rules.cc", path)};
  }
  std::vector<std::string> found;
  for (const Include& include : includes_of(text)) {
    if (auto what = violation(*rule, include)) {
      found.push_back(fmt::format("{}:{}: {}", path, include.line, *what));
    }
  }
  return found;
}

std::vector<std::string> check_tree(const std::filesystem::path& root) {
  std::vector<std::filesystem::path> files;
  for (const char* top : {"kernels", "harness", "suites", "reports"}) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root / top)) {
      if (entry.is_regular_file() && is_source(entry.path())) {
        files.push_back(entry.path());
      }
    }
  }
  std::sort(files.begin(), files.end());
  std::vector<std::string> found;
  for (const auto& file : files) {
    const auto of_file = check_source(file.lexically_relative(root).string(), content_of(file));
    found.insert(found.end(), of_file.begin(), of_file.end());
  }
  return found;
}

}  // namespace mg::layering
