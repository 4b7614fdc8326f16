// report.json, the truth every other format is a view of: Report to text and back.
// The contract is reports/schema/report.v1.json; numbers are nats and SI units, absent is null,
// never NaN. Tested in tests/reports/json_test.cc.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "harness/result/report.h"

namespace mg {

inline constexpr std::string_view kReportSchema = "mergegauge.report/1";

/// The report as JSON text: keys in a fixed order, one space of indent a level, a line break at the
/// end, numbers in the shortest form that reads back to the same double.  The same report gives the
/// same bytes.
std::string write_report_json(const Report& report);

/// The report back.  Keys this version does not know are left out, as the schema asks of readers.
/// Throws Error
///   report.json         not JSON
///   report.schema       not a mergegauge.report/1
///   report.missing-key  a key that every report has is absent
///   report.wrong-type   a value of another type, or a status that contradicts its exit code
/// `where` names the text in messages.
Report read_report_json(std::string_view text, std::string_view where);

/// The text of a report.json.  Throws Error "report.unreadable".
std::string read_report_text(const std::filesystem::path& path);

/// Reads a file.  Throws Error "report.unreadable" and what read_report_json throws.
Report read_report_file(const std::filesystem::path& path);

}  // namespace mg
