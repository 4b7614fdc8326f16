#include "reports/terminal/terminal.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

#include "reports/format.h"
#include "reports/headline.h"
#include "reports/labels.h"
#include "reports/server_words.h"
#include "reports/text.h"

namespace mg {
namespace {

constexpr std::size_t kMostGateLines = 12;
constexpr std::size_t kMostFindingLines = 6;

enum class Ink { kPlain, kGood, kBad, kUnsure, kStrong, kFaint };

Ink ink_of(GateStatus status) {
  switch (status) {
    case GateStatus::kPass:
      return Ink::kGood;
    case GateStatus::kFail:
      return Ink::kBad;
    case GateStatus::kInconclusive:
    case GateStatus::kInvalid:
      return Ink::kUnsure;
    case GateStatus::kNotRun:
      return Ink::kFaint;
  }
  return Ink::kPlain;
}

Ink ink_of(Severity severity) {
  switch (severity) {
    case Severity::kError:
      return Ink::kBad;
    case Severity::kWarning:
      return Ink::kUnsure;
    case Severity::kNote:
      return Ink::kFaint;
  }
  return Ink::kPlain;
}

Ink ink_of(RunStatus status) {
  switch (status) {
    case RunStatus::kPass:
      return Ink::kGood;
    case RunStatus::kInconclusive:
    case RunStatus::kInvalid:
      return Ink::kUnsure;
    case RunStatus::kFail:
    case RunStatus::kInputError:
    case RunStatus::kInternalError:
      return Ink::kBad;
  }
  return Ink::kPlain;
}

class Screen {
 public:
  explicit Screen(const TerminalStyle& style)
      : colour_(style.colour), width_(static_cast<std::size_t>(std::max(style.width, 40))) {}

  std::size_t width() const { return width_; }
  std::string take() { return std::move(text_); }

  std::string ink(Ink ink, std::string_view text) const {
    if (!colour_ || ink == Ink::kPlain || text.empty()) {
      return std::string(text);
    }
    const std::string_view code = ink == Ink::kGood     ? "1;32"
                                  : ink == Ink::kBad    ? "1;31"
                                  : ink == Ink::kUnsure ? "1;33"
                                  : ink == Ink::kStrong ? "1"
                                                        : "2";
    return fmt::format("\x1b[{}m{}\x1b[0m", code, text);
  }

  void line(std::string_view text = "") {
    text_ += text;
    // Blanks that pad a column mean nothing at the end of a line.
    text_.erase(text_.find_last_not_of(' ') + 1);
    text_ += '\n';
  }

  /// Wrapped lines behind `first` and then behind `indent` blanks, its width; less than the
  /// screen's.
  void paragraph(std::string_view first, std::size_t indent, std::string_view text,
                 Ink colour = Ink::kPlain) {
    bool begun = false;
    for (const std::string& part : wrap(text, width_ - indent)) {
      line((begun ? std::string(indent, ' ') : std::string(first)) + ink(colour, part));
      begun = true;
    }
  }

 private:
  bool colour_;
  std::size_t width_;
  std::string text_;
};

void print_headline(const Report& report, const Headline& head, Screen& screen) {
  const std::size_t indent = head.verdict.size() + 2;
  screen.paragraph(screen.ink(ink_of(report.status), head.verdict) + "  ", indent, head.title,
                   Ink::kStrong);
  if (!head.reason.empty()) {
    screen.line();
    screen.paragraph("  ", 2, printable(head.reason));
  }
  if (report.error) {
    const ErrorRecord& error = *report.error;
    const auto part = [&](std::string_view name, const std::string& text) {
      if (!text.empty()) {
        screen.paragraph("  " + pad_right(name, 10), 12, printable(text));
      }
    };
    part("error", error.code);
    part("expected", error.expected);
    part("actual", error.actual);
    part("hint", error.hint);
  }
}

void print_numbers(const Headline& head, Screen& screen) {
  if (head.numbers.empty()) {
    return;
  }
  screen.line();
  std::size_t value_width = 0;
  for (const KeyNumber& number : head.numbers) {
    value_width = std::max(value_width, display_width(number.value));
  }
  constexpr std::size_t kStatusWidth = 9;
  // Labels stand beside their values where that leaves them half of the screen, else below.
  const std::size_t beside = 2 + kStatusWidth + 2 + value_width + 2;
  const bool below = beside > screen.width() / 2;
  const std::size_t indent = below ? 4 : beside;
  const std::string margin(indent, ' ');
  for (const KeyNumber& number : head.numbers) {
    const std::string_view word =
        number.status == GateStatus::kNotRun ? "" : gate_status_word(number.status);
    const std::string first =
        "  " + screen.ink(ink_of(number.status), pad_right(word, kStatusWidth)) + "  " +
        screen.ink(Ink::kStrong, pad_right(number.value, value_width)) + "  ";
    if (below) {
      screen.line(first);
    }
    screen.paragraph(below ? margin : first, indent, number.label);
    if (!number.detail.empty()) {
      screen.paragraph(margin, indent, number.detail, Ink::kFaint);
    }
  }
}

struct GateRow {
  const Verdict* verdict;
  std::string name;
  std::string value;
  std::string interval;
  std::string limit;
};

GateRow gate_row(const Verdict& verdict) {
  const std::string_view unit = verdict.unit;
  const std::optional<Interval> judged = gate_interval(verdict).interval;
  return {&verdict, printable(verdict.gate) + (verdict.blocking ? "" : " (advisory)"),
          format_value(verdict.value, unit), judged ? format_interval(judged, unit) : "",
          limit_text(verdict)};
}

template <typename Member>
std::size_t widest(const std::vector<GateRow>& rows, Member member) {
  std::size_t width = 0;
  for (const GateRow& row : rows) {
    width = std::max(width, display_width(row.*member));
  }
  return width;
}

/// "and 9 more: 7 passed, 2 not run"
std::string rest_of_gates(const std::vector<const Verdict*>& gates, std::size_t shown) {
  Report rest;
  for (std::size_t i = shown; i < gates.size(); ++i) {
    rest.verdicts.push_back(*gates[i]);
  }
  const GateCounts counts = count_gates(rest);
  std::string text;
  const auto add = [&text](std::int64_t count, std::string_view what) {
    if (count > 0) {
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, what);
    }
  };
  add(counts.fail, "failed");
  add(counts.invalid, "invalid");
  add(counts.inconclusive, "undecided");
  add(counts.pass, "passed");
  add(counts.not_run, "not run");
  return fmt::format("and {} more: {}", counts.all(), text);
}

void print_gates(const Report& report, Screen& screen) {
  const std::vector<const Verdict*> gates = gates_by_importance(report);
  if (gates.empty()) {
    return;
  }
  std::vector<GateRow> rows;
  const std::size_t shown = gates.size() <= kMostGateLines ? gates.size() : kMostGateLines - 1;
  for (std::size_t i = 0; i < shown; ++i) {
    rows.push_back(gate_row(*gates[i]));
  }
  screen.line();
  screen.line(screen.ink(Ink::kStrong, "Gates"));
  constexpr std::size_t kStatusWidth = 9;
  const std::size_t value_width = widest(rows, &GateRow::value);
  const std::size_t limit_width = widest(rows, &GateRow::limit);
  const std::size_t interval_width = widest(rows, &GateRow::interval);
  // The interval goes first where the screen is narrow, then the limit; names are cut last.
  const std::size_t fixed = 2 + kStatusWidth + 2 + value_width;
  const std::size_t name_width = std::min<std::size_t>(widest(rows, &GateRow::name), 28);
  const bool has_limit = fixed + 2 + name_width + 2 + limit_width <= screen.width();
  const bool has_interval =
      has_limit && fixed + 2 + name_width + 2 + limit_width + 2 + interval_width <= screen.width();
  const std::size_t room = screen.width() - fixed - 2;
  const std::size_t names = has_limit ? name_width : std::min(name_width, room);
  for (const GateRow& row : rows) {
    std::string text = "  " +
                       screen.ink(ink_of(row.verdict->status),
                                  pad_right(gate_status_word(row.verdict->status), kStatusWidth)) +
                       "  " + pad_right(fit(row.name, names), names) + "  " +
                       pad_left(row.value, value_width);
    if (has_interval) {
      text += "  " + screen.ink(Ink::kFaint, pad_right(row.interval, interval_width));
    }
    if (has_limit) {
      text += "  " + screen.ink(Ink::kFaint, row.limit);
    }
    screen.line(text);
  }
  if (shown < gates.size()) {
    screen.line("  " + screen.ink(Ink::kFaint, rest_of_gates(gates, shown)));
  }
}

Ink ink_of(DetectionOutcome outcome) {
  switch (outcome) {
    case DetectionOutcome::kCaught:
      return Ink::kGood;
    case DetectionOutcome::kMissed:
      return Ink::kBad;
    case DetectionOutcome::kNotPlanted:
      return Ink::kFaint;
  }
  return Ink::kPlain;
}

/// A fault a line: outcome, name, exit code, who found it.
void print_detections(const SelftestResult& selftest, Screen& screen) {
  screen.line();
  screen.line(screen.ink(Ink::kStrong, "Planted faults"));
  std::size_t names = 0;
  for (const Detection& detection : selftest.detections) {
    names = std::max(names, display_width(printable(detection.damage)));
  }
  constexpr std::size_t kOutcomeWidth = 11;
  constexpr std::size_t kExitWidth = 6;
  const std::size_t beside = 2 + kOutcomeWidth + 2 + names + 2 + kExitWidth + 2;
  const bool below = beside > screen.width() / 2;
  const std::size_t indent = below ? 4 : beside;
  for (const Detection& detection : selftest.detections) {
    const std::string first =
        "  " +
        screen.ink(ink_of(detection.outcome),
                   pad_right(detection_word(detection.outcome), kOutcomeWidth)) +
        "  " + pad_right(printable(detection.damage), names) + "  " +
        pad_right(detection.exit_code ? fmt::format("exit {}", *detection.exit_code) : "",
                  kExitWidth) +
        "  ";
    std::string text = detection.note;
    const auto add = [&text](std::string_view who, const std::vector<std::string>& ids) {
      if (!ids.empty()) {
        text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", who, ids_text(ids));
      }
    };
    add("lint", detection.lint);
    add("audit", detection.audit);
    add("compare", detection.compare);
    if (below) {
      screen.line(first);
    }
    screen.paragraph(below ? std::string(indent, ' ') : first, indent,
                     text.empty() ? "nothing found" : printable(text), Ink::kFaint);
  }
}

void print_generation(const GenerationResult& generation, Screen& screen) {
  screen.line();
  screen.line(screen.ink(Ink::kStrong, "Texts"));
  for (const GenerationLane& lane : generation.lanes) {
    std::string text = format_plural(lane.tokens, "token");
    if (lane.scenarios > 0) {
      text += fmt::format(", {} of {} scenarios passed", format_count(lane.passed),
                          format_count(lane.scenarios));
    }
    for (const StopCount& stop : lane.stops) {
      text += fmt::format(", {} {}", format_count(stop.prompts), stop_words(stop.reason));
    }
    if (lane.repetition) {
      text += fmt::format(", {} repeated", format_percent(*lane.repetition));
    }
    screen.paragraph("  " + pad_right(lane.lane, 9), 11, text);
  }
  for (const GenerationPair& pair : generation.pairs) {
    std::string text = fmt::format("{} of {} identical", format_count(pair.identical),
                                   format_plural(pair.prompts, "text"));
    const auto add = [&text](std::int64_t count, std::string_view what) {
      if (count > 0) {
        text += fmt::format(", {} {}", format_count(count), what);
      }
    };
    add(pair.near_ties, "part at a near tie");
    add(pair.real, "part where no lane hesitated");
    add(pair.unjudged, "part, with no margin to judge it by");
    add(pair.scenarios_lost, "scenarios lost");
    add(pair.scenarios_gained, "scenarios gained");
    if (pair.edit_share) {
      text += fmt::format(", {} of tokens edited", format_percent(*pair.edit_share));
    }
    screen.paragraph("  " + pair.reference + " -> " + pair.subject + "  ",
                     pair.reference.size() + pair.subject.size() + 8, text);
  }
  std::size_t shown = 0;
  for (const GeneratedPrompt& prompt : generation.prompts) {
    for (const Departure& departure : prompt.departures) {
      if (departure.subject == "merged" && shown++ < kMostFindingLines) {
        screen.paragraph("    ", 4, departure_text(prompt, departure), Ink::kFaint);
      }
    }
  }
}

/// "weights 12.3 MB, 9.8 MB of them FP32 copies of codes": what a step reads.
std::string weights_text(const BenchMemory& memory) {
  std::string text = "weights " + format_bytes(memory.weight_bytes);
  if (memory.decoded_bytes > 0) {
    text += fmt::format(", {} of them FP32 copies of codes", format_bytes(memory.decoded_bytes));
  }
  return text;
}

/// A setting a line: the lanes' tokens/s, and the ratios.
void print_bench(const BenchResult& bench, Screen& screen) {
  screen.line();
  screen.line(screen.ink(Ink::kStrong, "Throughput"));
  const BenchRate* before = nullptr;
  for (const BenchRate& rate : bench.rates) {
    const bool same = before != nullptr && before->phase == rate.phase &&
                      before->length == rate.length && before->batch == rate.batch;
    before = &rate;
    if (same) {
      continue;
    }
    std::string text;
    for (const BenchRate& lane : bench.rates) {
      if (lane.phase == rate.phase && lane.length == rate.length && lane.batch == rate.batch) {
        text += fmt::format("{}{} {} tokens/s", text.empty() ? "" : ", ", printable(lane.lane),
                            lane.tokens_per_s ? format_number(*lane.tokens_per_s) : "-");
        const auto& share = lane.phase == "decode" ? lane.of_memory : lane.of_flops;
        if (share) {
          text += fmt::format(" ({} of the peak)", format_percent(*share));
        }
      }
    }
    for (const BenchRatio& ratio : bench.ratios) {
      if (ratio.phase == rate.phase && ratio.length == rate.length && ratio.batch == rate.batch) {
        text +=
            fmt::format("; {} / {} {} {} {}", printable(ratio.subject), printable(ratio.reference),
                        ratio.value ? format_number(*ratio.value) : "-",
                        format_interval(ratio.ci95, ""), ratio.decision);
      }
    }
    const std::string first =
        fmt::format("  {:<8} {:>5} x {:<3} ", printable(rate.phase), rate.length, rate.batch);
    screen.paragraph(first, display_width(first), text);
  }
  for (const BenchMemory& memory : bench.memory) {
    std::string text =
        fmt::format("{}, working memory {}, caches {}", weights_text(memory),
                    format_bytes(memory.peak_bytes), format_bytes(memory.cache_bytes));
    if (memory.load_s) {
      text += fmt::format(", loaded in {}", format_seconds(*memory.load_s));
    }
    if (memory.first_token_s) {
      text += fmt::format(", first token of {} after {}", memory.first_token_length,
                          format_seconds(*memory.first_token_s));
    }
    const std::string first = "  " + pad_right(printable(memory.lane), 12) + "  ";
    screen.paragraph(first, display_width(first), text);
  }
}

/// A model a line: how fast, how soon, what became of its requests; then what failures said.
void print_server(const ServerResult& server, Screen& screen) {
  screen.line();
  screen.paragraph(screen.ink(Ink::kStrong, "Server") + "  ", 8, printable(server_setting(server)));
  std::vector<std::array<std::string, 5>> rows{
      {"", "tokens/s", "ms to first token p50/p90/p99", "between tokens", "answered"}};
  for (const ServerLane& lane : server.lanes) {
    rows.push_back({printable(lane.lane),
                    format_value(lane.tokens_per_s, "") +
                        (lane.ci95 ? " " + format_interval(lane.ci95, "") : ""),
                    latency_text(lane.first_token), latency_text(lane.inter_token),
                    answered_text(lane)});
  }
  std::array<std::size_t, 5> widths{};
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], display_width(row[i]));
    }
  }
  for (const auto& row : rows) {
    std::string text;
    for (std::size_t i = 0; i < row.size(); ++i) {
      text += "  " + pad_right(row[i], widths[i]);
    }
    screen.line(fit(text, screen.width()));
  }
  for (const ServerLane& lane : server.lanes) {
    for (const ServerOutcome& outcome : lane.outcomes) {
      if (outcome.name != "ok") {
        screen.paragraph(
            "    ", 4,
            fmt::format("{}, {} {}: {}", printable(lane.lane), format_count(outcome.requests),
                        printable(outcome.name), printable(outcome.example)),
            Ink::kFaint);
      }
    }
  }
  for (const ServerLane& lane : server.lanes) {
    if (lane.logprobs) {
      const std::string first = "  " + pad_right(printable(lane.lane), 7) + "  ";
      screen.paragraph(first, display_width(first),
                       printable("log-probabilities: " + logprobs_text(*lane.logprobs)));
    }
  }
}

void print_served(const Report& report, Screen& screen) {
  if (report.also.empty()) {
    return;
  }
  screen.line();
  screen.line(screen.ink(Ink::kStrong, "Served in merged's place"));
  for (const AlsoModel& model : report.also) {
    const ServedLine line = served_line(report, model);
    const std::string_view word =
        line.status == GateStatus::kNotRun ? "" : gate_status_word(line.status);
    constexpr std::size_t kStatusWidth = 9;
    constexpr std::size_t kIndent = 2 + kStatusWidth + 2;
    screen.paragraph("  " + screen.ink(ink_of(line.status), pad_right(word, kStatusWidth)) + "  ",
                     kIndent, printable(line.lane), Ink::kStrong);
    screen.paragraph(std::string(kIndent, ' '), kIndent, line.numbers);
    screen.paragraph(std::string(kIndent, ' '), kIndent, printable(line.stored), Ink::kFaint);
  }
}

void print_finding(const Finding& finding, Screen& screen) {
  constexpr std::size_t kSeverityWidth = 9;
  constexpr std::size_t kIndent = 2 + kSeverityWidth + 2;
  std::string name = printable(finding.rule);
  for (const std::string& id : finding.catalogue) {
    name += " " + printable(id);
  }
  const std::size_t room = screen.width() - kIndent;
  screen.line("  " +
              screen.ink(ink_of(finding.severity),
                         pad_right(severity_name(finding.severity), kSeverityWidth)) +
              "  " + screen.ink(Ink::kStrong, fit(name, room)));
  const std::string margin(kIndent, ' ');
  screen.line(margin + fit(printable(finding.subject), room));
  screen.paragraph(margin, kIndent, printable(finding.message));
  if (!finding.expected.empty() || !finding.actual.empty()) {
    screen.paragraph(margin, kIndent,
                     fmt::format("expected {}, found {}", printable(finding.expected),
                                 printable(finding.actual)),
                     Ink::kFaint);
  }
  if (finding.fix) {
    screen.paragraph(margin, kIndent, "fix: " + printable(finding.fix->what));
  }
}

void print_findings(const Report& report, Screen& screen) {
  const SeverityCounts counts = count_findings(report);
  const auto to_show = static_cast<std::size_t>(counts.errors + counts.warnings);
  std::string rest;
  if (to_show > 0) {
    screen.line();
    screen.line(screen.ink(Ink::kStrong, "Findings"));
    const std::vector<const Finding*> findings = findings_by_severity(report);
    const std::size_t shown = std::min(to_show, kMostFindingLines);
    for (std::size_t i = 0; i < shown; ++i) {
      print_finding(*findings[i], screen);
    }
    if (shown < to_show) {
      rest = fmt::format("{} more error{} or warning{}", to_show - shown,
                         to_show - shown == 1 ? "" : "s", to_show - shown == 1 ? "" : "s");
    }
  }
  if (counts.notes > 0) {
    rest += fmt::format("{}{} note{}", rest.empty() ? "" : ", ", counts.notes,
                        counts.notes == 1 ? "" : "s");
  }
  if (!rest.empty()) {
    if (to_show == 0) {
      screen.line();
    }
    screen.line("  " + screen.ink(Ink::kFaint, rest + " in the report"));
  }
}

void print_end(const Report& report, const std::vector<std::string>& files, Screen& screen) {
  std::string cost;
  if (report.timing) {
    cost = format_seconds(report.timing->wall_s);
  }
  if (report.memory) {
    cost += fmt::format("{}{} of memory at most", cost.empty() ? "" : ", ",
                        format_bytes(report.memory->anonymous_peak_bytes));
  }
  if (files.empty() && cost.empty()) {
    return;
  }
  screen.line();
  for (std::size_t i = 0; i < files.size(); ++i) {
    screen.line((i == 0 ? "Report  " : "        ") + printable(files[i]));
  }
  if (!cost.empty()) {
    screen.line("Took    " + screen.ink(Ink::kFaint, cost));
  }
}

}  // namespace

std::string render_terminal(const Report& report, const TerminalStyle& style,
                            const std::vector<std::string>& files) {
  Screen screen(style);
  const Headline head = headline(report);
  print_headline(report, head, screen);
  print_numbers(head, screen);
  if (report.bench && report.bench->server) {
    print_server(*report.bench->server, screen);
  } else if (report.bench && report.comparisons.empty()) {  // beside a comparison its gates say
    print_bench(*report.bench, screen);                     // enough
  }
  print_served(report, screen);
  if (report.generation) {
    print_generation(*report.generation, screen);
  }
  if (report.selftest) {
    print_detections(*report.selftest, screen);  // the gates are of the undamaged merge
  } else {
    print_gates(report, screen);
  }
  print_findings(report, screen);
  print_end(report, files, screen);
  return screen.take();
}

}  // namespace mg
