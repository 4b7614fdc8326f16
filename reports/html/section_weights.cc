#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "reports/format.h"
#include "reports/headline.h"
#include "reports/html/charts.h"
#include "reports/html/sections.h"
#include "reports/html/table.h"
#include "reports/html/tensor_place.h"

namespace mg::html {
namespace {

// Beyond this a page becomes slow to open; report.json has them all.
constexpr std::int64_t kMostTensors = 4000;

/// One of the three maps: what is read from a tensor and from which value on a level begins.
struct Measure {
  std::string title;
  std::string explanation;
  std::vector<double> steps;  // the upper ends of levels 0 .. kHeatLevels - 2
  std::vector<std::string> legend;
  std::optional<double> (*distance)(const TensorAudit&);  // 0: as it should be
  std::string (*text)(const TensorAudit&);
};

std::optional<double> slope_of(const TensorAudit& tensor) {
  return tensor.c_remerge ? tensor.c_remerge : tensor.c;
}

std::optional<double> residual_of(const TensorAudit& tensor) {
  return tensor.rho_remerge ? tensor.rho_remerge : tensor.rho;
}

std::optional<double> wrong_share(const TensorAudit& tensor) {
  return tensor.elements > 0 ? std::optional(static_cast<double>(tensor.differing) /
                                             static_cast<double>(tensor.elements))
                             : std::nullopt;
}

std::vector<Measure> measures() {
  return {{"Slope c",
           "How often the adapter is in the tensor: 1 is once, 0 not at all, 2 twice. Against the "
           "rounded re-merge.",
           {0.001, 0.01, 0.1, 0.5},
           {"1 ± 0.001", "± 0.01", "± 0.1", "± 0.5", "further"},
           [](const TensorAudit& t) -> std::optional<double> {
             const auto c = slope_of(t);
             return c ? std::optional(std::fabs(*c - 1.0)) : std::nullopt;
           },
           [](const TensorAudit& t) { return "c " + format_value(slope_of(t), ""); }},
          {"Residual ρ",
           "What else is in the tensor, in units of the adapter's effect: 0 is nothing.",
           {0.01, 0.1, 0.3, 1.0},
           {"≤ 0.01", "≤ 0.1", "≤ 0.3", "≤ 1", "more"},
           residual_of,
           [](const TensorAudit& t) { return "ρ " + format_value(residual_of(t), ""); }},
          {"Not correctly rounded",
           "Share of the elements that differ from base + adapter rounded once.",
           {0.0, 1e-4, 0.01, 0.1},
           {"none", "≤ 0.01 %", "≤ 1 %", "≤ 10 %", "more"},
           wrong_share,
           [](const TensorAudit& t) {
             return format_value(wrong_share(t), "share") + " of the elements differ";
           }}};
}

int level_of(const Measure& measure, double distance) {
  int level = 0;
  while (level < kHeatLevels - 1 && !(distance <= measure.steps[static_cast<std::size_t>(level)])) {
    ++level;
  }
  return level;
}

bool carries_adapter(const TensorAudit& tensor) {
  return tensor.tensor_class == TensorClass::kTarget;
}

/// "self_attn.q_proj" is known by its last word, unless two modules share it.
std::string short_module(const std::string& module, const std::map<std::string, int>& last_words) {
  const std::size_t dot = module.rfind('.');
  const std::string last = dot == std::string::npos ? module : module.substr(dot + 1);
  const auto found = last_words.find(last);
  return found != last_words.end() && found->second == 1 ? last : module;
}

/// The rows and columns of all adapted tensors: one grid for the three maps.
class WeightGrid {
 public:
  explicit WeightGrid(const AuditResult& audit) {
    for (const TensorAudit& tensor : audit.tensors) {
      const auto place = carries_adapter(tensor) ? tensor_place(tensor.name) : std::nullopt;
      if (place) {
        rows_.emplace(std::pair(place->stack, place->layer), 0);
        if (std::find(modules_.begin(), modules_.end(), place->module) == modules_.end()) {
          modules_.push_back(place->module);
        }
      }
    }
    std::int64_t next = 0;
    for (auto& [place, row] : rows_) {
      row = next++;
    }
  }

  bool empty() const { return rows_.empty(); }

  HeatMap map(const AuditResult& audit, const Measure& measure) const {
    HeatMap out;
    out.name = fmt::format("{} by layer and module", measure.title);
    out.legend = measure.legend;
    name_rows_and_columns(out);
    std::map<std::pair<std::int64_t, std::int64_t>, HeatMap::Cell> cells;
    for (const TensorAudit& tensor : audit.tensors) {
      const auto place = carries_adapter(tensor) ? tensor_place(tensor.name) : std::nullopt;
      const auto distance = measure.distance(tensor);
      if (!place || !distance) {
        continue;
      }
      const auto row = rows_.at({place->stack, place->layer});
      const auto column =
          std::find(modules_.begin(), modules_.end(), place->module) - modules_.begin();
      HeatMap::Cell& cell = cells[{row, column}];
      cell.row = row;
      cell.column = column;
      // Experts of a layer share a cell, which shows the worst of them.
      cell.level = std::max(cell.level, level_of(measure, *distance));
      if (tensor.verdict == GateStatus::kFail && !cell.failed) {
        cell.failed = true;
        cell.story = fmt::format("{}: {}", tensor.name, measure.text(tensor));
      }
    }
    for (auto& [at, cell] : cells) {
      out.cells.push_back(std::move(cell));
    }
    return out;
  }

 private:
  void name_rows_and_columns(HeatMap& out) const {
    bool several_stacks = false;
    for (const auto& [place, row] : rows_) {
      several_stacks |= place.first != rows_.begin()->first.first;
    }
    std::map<std::string, int> stacks;
    for (const auto& [place, row] : rows_) {
      stacks.emplace(place.first, static_cast<int>(stacks.size()));
      out.rows.push_back(
          several_stacks ? fmt::format("{}:{}", static_cast<char>('a' + stacks[place.first] % 26),
                                       place.second)
                         : fmt::format("{}", place.second));
    }
    std::map<std::string, int> last_words;
    for (const std::string& module : modules_) {
      ++last_words[module.substr(module.rfind('.') + 1)];
    }
    for (const std::string& module : modules_) {
      out.columns.push_back(short_module(module, last_words));
    }
  }

  std::map<std::pair<std::string, std::int64_t>, std::int64_t> rows_;
  std::vector<std::string> modules_;
};

Markup tensor_table(const AuditResult& audit) {
  Table table("Tensors", {{"tensor", Align::kName},
                          {"class"},
                          {"verdict"},
                          {"c", Align::kNumber},
                          {"ρ", Align::kNumber},
                          {"c, re-merge", Align::kNumber},
                          {"ρ, re-merge", Align::kNumber},
                          {"differ", Align::kNumber},
                          {"of elements", Align::kNumber},
                          {"largest ulp", Align::kNumber},
                          {"unchanged", Align::kNumber},
                          {"recipe"},
                          {"note"}});
  // Wrong ones first, then those that carry the adapter.
  std::vector<const TensorAudit*> order;
  for (const TensorAudit& tensor : audit.tensors) {
    order.push_back(&tensor);
  }
  const auto rank = [](const TensorAudit* t) {
    return t->verdict != GateStatus::kPass ? 0 : carries_adapter(*t) ? 1 : 2;
  };
  std::stable_sort(
      order.begin(), order.end(),
      [&](const TensorAudit* left, const TensorAudit* right) { return rank(left) < rank(right); });
  for (const TensorAudit* t : order) {
    if (table.rows() == kMostTensors) {
      break;
    }
    table.row({markup("{}", t->name), markup("{}", tensor_class_name(t->tensor_class)),
               markup("{}", gate_status_word(t->verdict)), value_cell(t->c), value_cell(t->rho),
               value_cell(t->c_remerge), value_cell(t->rho_remerge), count_cell(t->differing),
               count_cell(t->elements), t->max_ulp ? count_cell(*t->max_ulp) : markup("-"),
               value_cell(t->unchanged_share, "share"), markup("{}", t->recipe),
               markup("{}", t->note)});
  }
  Markup out = table.finish();
  const auto left = std::ssize(audit.tensors) - table.rows();
  if (left > 0) {
    out.add("<p>{} more tensors are in report.json.</p>\n", format_count(left));
  }
  return out;
}

Markup recipe_text(const AuditResult& audit) {
  Markup out;
  const AuditSummary& s = audit.summary;
  out.add(
      "<p class=intro>{} tensors carry the adapter, {} must equal the base, {} are held whole "
      "by the adapter; {} missing, {} unexpected, {} renamed, {} not checked. ",
      format_count(s.target), format_count(s.untouched), format_count(s.replaced),
      format_count(s.missing), format_count(s.extra), format_count(s.renamed),
      format_count(s.not_checked));
  if (!audit.recipe.name.empty()) {
    out.add("Merge recipe: <strong>{}</strong>", audit.recipe.name);
    if (audit.recipe.share) {
      out.add(", which explains {} of the adapted elements", format_percent(*audit.recipe.share));
    }
    out.add(".");
  }
  out.add("</p>\n");
  if (!audit.recipe.exceptions.empty()) {
    Table table("Tensors merged another way", {{"tensor"}, {"recipe"}});
    for (const RecipeException& exception : audit.recipe.exceptions) {
      if (table.rows() < kMostTensors) {
        table.row({name_cell(exception.tensor), markup("{}", exception.name)});
      }
    }
    out.add("<details class=more><summary>{} tensors merged another way</summary>\n{}</details>\n",
            format_count(std::ssize(audit.recipe.exceptions)), table.finish());
  }
  return out;
}

}  // namespace

Markup weights_section(const Report& report) {
  if (!report.audit) {
    return {};
  }
  const AuditResult& audit = *report.audit;
  Markup out = recipe_text(audit);
  const WeightGrid grid(audit);
  if (!grid.empty()) {
    Markup figures;
    for (const Measure& measure : measures()) {
      Markup drawing = heat_map(grid.map(audit, measure));
      if (!drawing.empty()) {
        figures += figure({measure.title, measure.explanation, std::move(drawing), {}});
      }
    }
    out.add(
        "<p>Rows are layers, columns modules; a cross marks a tensor that failed.</p>"
        "<div class=figures>\n{}</div>\n",
        figures);
  }
  return out.add(
      "<details class=more id=tensors><summary>All tensors with their numbers</summary>"
      "\n{}</details>\n",
      tensor_table(audit));
}

}  // namespace mg::html
