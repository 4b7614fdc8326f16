// Tables of a page: one line a row, numbers to the right, sortable where the page's script runs.
// Tested through the pages (tests/reports/html_test.cc).
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reports/html/markup.h"

namespace mg::html {

/// A name is a text set as code: a tensor, a prompt, a key.
enum class Align { kText, kName, kNumber };

struct Column {
  std::string title;
  Align align = Align::kText;
};

class Table {
 public:
  /// `caption` says what the rows are; it names the table for screen readers.
  Table(std::string_view caption, std::vector<Column> columns);

  /// One cell a column, in order; the first is the row's header.  Of a first column of names the
  /// table says once that they are code, so that thousands of rows stay small.
  Table& row(std::initializer_list<Markup> cells);
  Table& row(const std::vector<Markup>& cells);

  bool empty() const { return rows_ == 0; }
  std::int64_t rows() const { return rows_; }

  /// The table in a frame that scrolls sideways where the page is too narrow.
  Markup finish() const;

 private:
  std::string caption_;
  std::vector<Column> columns_;
  Markup body_;
  std::int64_t rows_ = 0;
};

/// Text that may be long: a name, a path, a key.
Markup name_cell(std::string_view text);
/// A number in a unit, "-" where there is none (format.h).
Markup value_cell(const std::optional<double>& value, std::string_view unit = "");
Markup count_cell(std::int64_t count);

}  // namespace mg::html
