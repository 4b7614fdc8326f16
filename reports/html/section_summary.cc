#include <fmt/format.h>

#include "reports/format.h"
#include "reports/headline.h"
#include "reports/html/sections.h"

namespace mg::html {
namespace {

Markup number_card(const KeyNumber& number) {
  Markup out;
  out.add("<li class=\"card {}\"><span class=label>{}</span><span class=value>{}</span>",
          tone_of(number.status), number.label, number.value);
  out.add("<span class=detail>{}</span>", number.detail);
  if (number.status != GateStatus::kNotRun) {
    out += status_badge(tone_of(number.status), gate_status_word(number.status));
  }
  return out.add("</li>\n");
}

Markup fact(std::string_view name, const Markup& value) {
  return markup("<div><dt>{}</dt><dd>{}</dd></div>\n", name, value);
}

Markup text_fact(std::string_view name, const std::string& value) {
  return value.empty() ? Markup{} : fact(name, markup("{}", value));
}

std::string model_text(const ModelSummary& model) {
  return fmt::format("{}, {} layers, {} parameters, {}{}", model.architecture,
                     format_count(model.layers), format_count(model.parameters), model.base_dtype,
                     model.merged_dtype.empty() || model.merged_dtype == model.base_dtype
                         ? ""
                         : " merged into " + model.merged_dtype);
}

std::string adapter_text(const AdapterSummary& adapter) {
  std::string text = fmt::format("{} of rank {} on {} matrices", adapter.kind, adapter.rank,
                                 format_count(adapter.targets));
  if (adapter.scaling) {
    text += ", scaling " + format_number(*adapter.scaling);
  }
  return text;
}

Markup facts(const Report& report) {
  const InputInfo& inputs = report.inputs;
  Markup out;
  const auto folder = [&out](std::string_view name, const std::string& path) {
    if (!path.empty()) {
      out += fact(name, markup("<code>{}</code>", path));
    }
  };
  folder("merged", inputs.merged);
  folder("base", inputs.base);
  folder("adapter trained on", inputs.trained_on.value_or(""));
  folder("adapter", inputs.adapter);
  if (inputs.model) {
    out += text_fact("model", model_text(*inputs.model));
  }
  if (inputs.adapter_info) {
    out += text_fact("adapter's kind", adapter_text(*inputs.adapter_info));
  }
  out += text_fact("measured on", size_text(report));
  if (report.timing) {
    const std::string& started = report.timing->started;
    out += text_fact("run", fmt::format("{}{}took {}", started, started.empty() ? "" : ", ",
                                        format_seconds(report.timing->wall_s)));
  }
  return markup("<dl class=facts>\n{}</dl>\n", out);
}

Markup error_box(const ErrorRecord& error) {
  Markup out;
  out.add("<div class=error><p><strong>{}</strong>: {}</p><dl class=facts>", error.code,
          error.what);
  out += text_fact("where", error.where);
  out += text_fact("expected", error.expected);
  out += text_fact("actual", error.actual);
  out += text_fact("hint", error.hint);
  return out.add("</dl></div>\n");
}

}  // namespace

Markup summary_section(const ReportView& view) {
  const Report& report = view.report;
  const Headline head = headline(report);
  Markup out;
  out.add("<header class=\"verdict {}\">\n<p class=verdict-word id=verdict>",
          tone_of(report.status));
  out += status_badge(tone_of(report.status), head.verdict);
  out.add("</p>\n<h1>{}</h1>\n<p class=reason>{}</p>\n</header>\n", head.title, head.reason);
  if (report.error) {
    out += error_box(*report.error);
  }
  if (!head.numbers.empty()) {
    out.add("<ul class=cards>\n");
    for (const KeyNumber& number : head.numbers) {
      out += number_card(number);
    }
    out.add("</ul>\n");
  }
  out.add("<p class=counts id=counts>{}</p>\n", counts_text(report));
  for (const std::string& text : report.not_checked) {
    out.add("<p class=unchecked>Not checked: {}</p>\n", text);
  }
  return out += facts(report);
}

Markup status_badge(std::string_view tone, std::string_view word) {
  const std::string_view sign = tone == "good"     ? "✓"
                                : tone == "bad"    ? "✕"
                                : tone == "unsure" ? "?"
                                                   : "–";
  return markup("<span class=\"badge {}\"><span aria-hidden=true>{}</span> {}</span>", tone, sign,
                word);
}

std::string_view tone_of(GateStatus status) {
  switch (status) {
    case GateStatus::kPass:
      return "good";
    case GateStatus::kFail:
      return "bad";
    case GateStatus::kInconclusive:
    case GateStatus::kInvalid:
      return "unsure";
    case GateStatus::kNotRun:
      return "quiet";
  }
  return "quiet";
}

std::string_view tone_of(RunStatus status) {
  switch (status) {
    case RunStatus::kPass:
      return "good";
    case RunStatus::kInconclusive:
    case RunStatus::kInvalid:
      return "unsure";
    case RunStatus::kFail:
    case RunStatus::kInputError:
    case RunStatus::kInternalError:
      return "bad";
  }
  return "quiet";
}

}  // namespace mg::html
