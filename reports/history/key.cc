#include "reports/history/key.h"

#include <algorithm>
#include <string_view>

#include "kernels/core/error.h"
#include "reports/digest.h"

namespace mg {
namespace {

/// One digest of all files of a role, whatever their order in the report.
std::string digest_of_role(const Report& report, std::string_view role) {
  std::vector<std::string> lines;
  if (report.provenance) {
    for (const FileRecord& file : report.provenance->files) {
      if (file.role == role) {
        lines.push_back(file.path + " " + file.sha256 + "\n");
      }
    }
  }
  std::sort(lines.begin(), lines.end());
  std::string text;
  for (const std::string& line : lines) {
    text += line;
  }
  return text.empty() ? "" : text_digest(text);
}

std::string suites_text(const Report& report) {
  std::string text;
  for (const SuiteInfo& suite : report.inputs.suites) {
    text += (text.empty() ? "" : ", ") + suite.name + " " + suite.digest + " (" +
            std::to_string(suite.prompts) + " prompts)";
  }
  return text;
}

/// "cpu (avx2)" -> "cpu": a backend gives the same bits with every instruction set.
std::string backend_name(const std::string& backend) {
  return backend.substr(0, backend.find(" ("));
}

}  // namespace

ComparabilityKey comparability_key(const Report& report) {
  ComparabilityKey key{
      {{"base", digest_of_role(report, "base")},
       {"adapter", digest_of_role(report, "adapter")},
       {"prompts", suites_text(report)},
       {"merged dtype", report.inputs.model ? report.inputs.model->merged_dtype : ""},
       {"arithmetic", report.tool.arithmetic},
       {"backend", backend_name(report.tool.backend)},
       {"version", report.tool.version}}};
  for (std::size_t i = 0; i < 3; ++i) {
    if (key.fields[i].second.empty()) {
      throw Error({.code = "history.no-digests",
                   .what = "the run cannot be compared with others: it does not say what it ran on",
                   .where = "report.json",
                   .expected = "digests of base, adapter and prompts",
                   .actual = "no digest of " + key.fields[i].first,
                   .hint = "run `mergegauge check` without --no-digests"});
    }
  }
  return key;
}

std::string key_digest(const ComparabilityKey& key) {
  std::string text;
  for (const auto& [name, value] : key.fields) {
    text += name + "=" + value + "\n";
  }
  constexpr std::size_t kShort = 7 + 16;  // "sha256:" and 64 bits
  return text_digest(text).substr(0, kShort);
}

std::optional<FieldDifference> first_difference(const ComparabilityKey& here,
                                                const ComparabilityKey& there) {
  for (std::size_t i = 0; i < here.fields.size(); ++i) {
    const auto& [name, value] = here.fields[i];
    const std::string other = i < there.fields.size() && there.fields[i].first == name
                                  ? there.fields[i].second
                                  : std::string("nothing");
    if (value != other) {
      return FieldDifference{name, value, other};
    }
  }
  return std::nullopt;
}

}  // namespace mg
