#include "harness/cli/audit_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace mg {
namespace {

// What fits one screen; the rest is in the JSON.
constexpr std::size_t kFindings = 12;

std::string grouped(std::int64_t n) {
  std::string digits = std::to_string(n);
  for (std::size_t at = digits.size(); at > 3; at -= 3) {
    digits.insert(at - 3, ",");
  }
  return digits;
}

std::string painted(const Terminal& terminal, const char* code, const std::string& text) {
  return terminal.colour ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : text;
}

struct Totals {
  std::int64_t target_elements = 0;
  std::int64_t differing = 0;
  std::int64_t max_ulp = 0;
  double scale_low = -1e300;
  double scale_high = 1e300;
  bool scale = false;
  double worst_c = 1.0;
  double worst_rho = 0.0;
};

Totals totals_of(const AuditResult& audit) {
  Totals t;
  for (const TensorAudit& tensor : audit.tensors) {
    if (tensor.tensor_class != TensorClass::kTarget) {
      continue;
    }
    t.target_elements += tensor.elements;
    t.differing += tensor.differing;
    t.max_ulp = std::max(t.max_ulp, tensor.max_ulp.value_or(0));
    if (tensor.scale_low && tensor.scale_high) {
      t.scale = true;
      t.scale_low = std::max(t.scale_low, *tensor.scale_low);
      t.scale_high = std::min(t.scale_high, *tensor.scale_high);
    }
    if (tensor.c_remerge && std::fabs(*tensor.c_remerge - 1.0) > std::fabs(t.worst_c - 1.0)) {
      t.worst_c = *tensor.c_remerge;
    }
    t.worst_rho = std::max(t.worst_rho, tensor.rho_remerge.value_or(0.0));
  }
  return t;
}

std::string counts_of(const AuditSummary& summary) {
  std::vector<std::string> parts;
  const auto add = [&](std::int64_t n, const char* what) {
    if (n > 0) {
      parts.push_back(fmt::format("{} {}", n, what));
    }
  };
  add(summary.target, "targeted");
  add(summary.untouched, "untouched");
  add(summary.replaced, "replaced");
  add(summary.renamed, "renamed");
  add(summary.missing, "missing");
  add(summary.extra, "extra");
  add(summary.not_checked, "not checked");
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::string headline(const Report& report, const Terminal& terminal) {
  switch (report.status) {
    case RunStatus::kPass:
      return painted(terminal, "1;32", "PASS") + "  merged is base + adapter";
    case RunStatus::kFail:
      return painted(terminal, "1;31", "FAIL") + "  merged is not base + adapter";
    default:
      return painted(terminal, "1;33", "INCONCLUSIVE") + "  not everything could be verified";
  }
}

std::string recipe_line(const MergeRecipe& recipe) {
  if (recipe.name.empty()) {
    return "none: no tensor carries a delta";
  }
  // Never rounded up to 100 % while something is left unexplained.
  const double percent = std::floor(recipe.share.value_or(0.0) * 1e6) / 1e4;
  std::string text =
      fmt::format("{}, explains {:.7g} % of the targeted elements", recipe.name, percent);
  if (!recipe.exceptions.empty()) {
    text += fmt::format("; exceptions: {} {}", recipe.exceptions.size(),
                        recipe.exceptions.size() == 1 ? "tensor" : "tensors");
    text +=
        fmt::format(" ({}: {}{})", recipe.exceptions.front().tensor, recipe.exceptions.front().name,
                    recipe.exceptions.size() > 1 ? ", ..." : "");
  }
  return text;
}

void add_evidence(std::string& text, const AuditResult& audit) {
  text += fmt::format("  tensors    {}\n", counts_of(audit.summary));
  text += fmt::format("  recipe     {}\n", recipe_line(audit.recipe));
  const Totals t = totals_of(audit);
  if (t.target_elements == 0) {
    return;
  }
  text += fmt::format("  re-merge   {} of {} elements differ from one rounding of base + delta{}\n",
                      grouped(t.differing), grouped(t.target_elements),
                      t.differing == 0
                          ? std::string()
                          : fmt::format(", by at most {}{} ulp", t.max_ulp > 64 ? "more than " : "",
                                        std::min<std::int64_t>(t.max_ulp, 64)));
  if (t.scale && t.scale_low <= t.scale_high) {
    text += fmt::format("  scale      {:.8g} to {:.8g} of the adapter's own fits every element\n",
                        t.scale_low, t.scale_high);
  }
  text += fmt::format("  farthest   c' {:.6g}, rho' {:.3g}\n", t.worst_c, t.worst_rho);
}

std::string severity_tag(const Finding& finding, const Terminal& terminal) {
  switch (finding.severity) {
    case Severity::kError:
      return painted(terminal, "31", "error");
    case Severity::kWarning:
      return painted(terminal, "33", "warning");
    case Severity::kNote:
      return painted(terminal, "2", "note");
  }
  return {};
}

void add_finding(std::string& text, const Finding& finding, const Terminal& terminal) {
  text += fmt::format(
      "\n{}[{}]{}: {}\n", severity_tag(finding, terminal), finding.rule,
      finding.catalogue.empty() ? "" : fmt::format(" {}", fmt::join(finding.catalogue, " ")),
      finding.message);
  if (finding.severity == Severity::kNote) {
    return;
  }
  text += fmt::format("  where:    {}\n", finding.subject);
  if (!finding.expected.empty() || !finding.actual.empty()) {
    text += fmt::format("  expected: {}   actual: {}\n", finding.expected, finding.actual);
  }
  if (finding.fix) {
    text += fmt::format("  fix:      {}\n", finding.fix->what);
  }
}

}  // namespace

std::string audit_text(const Report& report, const Terminal& terminal) {
  std::string text = headline(report, terminal) + "\n\n";
  if (report.audit) {
    add_evidence(text, *report.audit);
  }
  std::size_t shown = 0;
  for (const Finding& finding : report.findings) {
    if (shown == kFindings) {
      text += fmt::format("\n{} more findings: see --json\n", report.findings.size() - shown);
      break;
    }
    add_finding(text, finding, terminal);
    ++shown;
  }
  return text;
}

}  // namespace mg
