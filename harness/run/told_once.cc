#include "harness/run/told_once.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace mg {
namespace {

struct Same {
  std::string_view prompts;
  std::string_view lint;
};
constexpr auto kSame = std::to_array<Same>({
    {"prompts.no-template", "template.missing"},
    {"prompts.rendering", "template.changed"},
    {"prompts.no-tokenizer", "tokenizer.missing-files"},
    {"prompts.token-ids", "tokenizer.other"},
    {"prompts.token-ids", "tokenizer.special-tokens"},
});

bool is_of_merged(const Finding& finding) {
  return finding.subject.starts_with("merged");
}

}  // namespace

void tell_once(std::vector<Finding>& lint, std::vector<Finding>& prompts) {
  for (Finding& kept : prompts) {
    if (!is_of_merged(kept)) {
      continue;
    }
    std::erase_if(lint, [&kept](const Finding& finding) {
      const bool same = std::any_of(kSame.begin(), kSame.end(), [&](const Same& pair) {
        return kept.rule == pair.prompts && finding.rule == pair.lint;
      });
      // Of several missing tokenizer files only tokenizer.json is what the prompts miss.
      if (!same || finding.severity == Severity::kNote ||
          (kept.rule == "prompts.no-tokenizer" && finding.subject != "tokenizer.json")) {
        return false;
      }
      kept.severity = std::min(kept.severity, finding.severity);  // the worse
      if (finding.fix && finding.fix->automatic) {
        kept.fix = Fix{.automatic = false,
                       .what = "`mergegauge lint --fix` does it: " + finding.fix->what};
      }
      return true;
    });
  }
}

}  // namespace mg
