// A lint rule as one row of data.  To add one: a row in rules/<family>.cc, and a good and a bad
// case in tests/lint/.  Tested row by row in tests/lint/rules_test.cc.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/lint/context.h"
#include "harness/lint/edit.h"
#include "harness/result/finding.h"

namespace mg::lint {

/// What a rule needs besides merged; without it the rule is not run, which is said.
enum class Needs : std::uint8_t { kMerged, kBase, kAdapter, kBaseAndAdapter, kServer, kGguf };

struct LintFinding {
  Finding finding;
  std::vector<Edit> edits;
  bool unreadable = false;  // merged could not be read: exit code 2
};

class Reporter;

struct Rule {
  std::string_view id;
  std::string_view catalogue;  // "F01", or "F03 F04"
  Severity severity;           // the worst it reports
  Needs needs;
  std::string_view why;  // one sentence: what happens if it is ignored
  std::string_view fix;  // what to do, one sentence
  void (*check)(const Context& context, Reporter& report);
  bool unreadable = false;  // findings end the run: the files cannot be read
  // The audit looks at the same thing with the tensors' bytes at hand: `check` leaves it to the
  // audit.
  bool audited = false;
};

/// What a check hands back.  Fills in what the rule's row says already.
class Reporter {
 public:
  Reporter(const Rule& rule, std::string_view command, std::vector<LintFinding>& out)
      : rule_(rule), command_(command), out_(out) {}

  struct Details {
    std::string subject;
    std::string message;
    std::string expected = {};
    std::string actual = {};
    std::vector<Edit> edits = {};
    std::string fix = {};  // empty: the rule's
  };
  void error(Details details) { add(Severity::kError, std::move(details)); }
  void warning(Details details) { add(Severity::kWarning, std::move(details)); }
  void note(Details details) { add(Severity::kNote, std::move(details)); }
  void add(Severity severity, Details details);

 private:
  const Rule& rule_;
  std::string_view command_;
  std::vector<LintFinding>& out_;
};

/// "F03 F04" -> {"F03", "F04"}
std::vector<std::string> catalogue_ids(std::string_view catalogue);

/// "a, b, c and 12 more"
std::string listed(const std::vector<std::string>& names, std::size_t most = 4);

}  // namespace mg::lint
