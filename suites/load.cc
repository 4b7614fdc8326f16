#include "suites/load.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "kernels/core/error.h"
#include "suites/built_in.h"
#include "suites/reader.h"
#include "suites/smoke.h"

namespace mg {
namespace {

namespace fs = std::filesystem;

std::string built_in_names() {
  std::string names;
  for (const BuiltInSuite& suite : built_in_suites()) {
    names += (names.empty() ? "" : ", ") + std::string(suite.name);
  }
  return names;
}

/// The suite file of a folder: suite.jsonl, or else its only *.jsonl.
fs::path file_in(const fs::path& folder) {
  if (fs::is_regular_file(folder / "suite.jsonl")) {
    return folder / "suite.jsonl";
  }
  std::vector<fs::path> found;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".jsonl" && entry.is_regular_file()) {
      found.push_back(entry.path());
    }
  }
  if (found.size() != 1) {
    throw Error(
        {.code = "suite.folder",
         .what = "the folder does not say which file is the suite",
         .where = folder.string(),
         .expected = "suite.jsonl, or one file that ends in .jsonl",
         .actual = found.empty() ? "no .jsonl file" : fmt::format("{} .jsonl files", found.size()),
         .hint = "give the file itself"});
  }
  return found.front();
}

std::string folder_name(const fs::path& folder) {
  const fs::path absolute = fs::weakly_canonical(folder);
  return absolute.filename().string();
}

/// "table.csv:column": the file and the column, where the whole value names no file.
std::pair<fs::path, std::string_view> file_and_column(std::string_view value) {
  const std::size_t at = value.rfind(".csv:");
  std::error_code ignored;
  if (at == std::string_view::npos || fs::exists(fs::path(value), ignored)) {
    return {fs::path(value), {}};
  }
  return {fs::path(value.substr(0, at + 4)), value.substr(at + 5)};
}

}  // namespace

Suite load_suite(std::string_view value, const ModelLimits& limits) {
  if (value == kSmokeName) {
    return make_smoke_suite(limits);
  }
  if (auto written = written_suite(value)) {
    return std::move(*written);
  }
  const auto [path, column] = file_and_column(value);
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    Suite suite = read_suite_file(file_in(path));
    suite.name = folder_name(path);
    return suite;
  }
  if (!fs::exists(path, ignored)) {
    throw Error({.code = "suite.unknown",
                 .what = "no built-in suite, file or folder has this name",
                 .where = fmt::format("--suite {}", value),
                 .expected = fmt::format("a file, a folder, or one of: {}", built_in_names()),
                 .actual = "nothing there",
                 .hint = ""});
  }
  return read_suite_file(path, column);
}

}  // namespace mg
