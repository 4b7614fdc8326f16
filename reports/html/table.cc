#include "reports/html/table.h"

#include <span>

#include "kernels/core/error.h"
#include "reports/format.h"

namespace mg::html {
namespace {

// Short tables are read at a glance and need no search field.
constexpr std::int64_t kRowsToFilter = 12;

// End tags of cells and rows are left out, as HTML allows: of thousands of rows they are a tenth.
void add_row(Markup& body, const std::vector<Column>& columns, std::span<const Markup> cells) {
  MG_CHECK(cells.size() == columns.size(), "a table's row has as many cells as its columns");
  const Markup number = markup(" class=n");
  const Markup text;
  body.add("<tr>");
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const Markup& align = columns[i].align == Align::kNumber ? number : text;
    if (i == 0) {
      body.add("<th{}>{}", align, cells[i]);
    } else {
      body.add("<td{}>{}", align, cells[i]);
    }
  }
  body.add("\n");
}

}  // namespace

Table::Table(std::string_view caption, std::vector<Column> columns)
    : caption_(caption), columns_(std::move(columns)) {}

Table& Table::row(std::initializer_list<Markup> cells) {
  add_row(body_, columns_, {cells.begin(), cells.size()});
  ++rows_;
  return *this;
}

Table& Table::row(const std::vector<Markup>& cells) {
  add_row(body_, columns_, cells);
  ++rows_;
  return *this;
}

Markup Table::finish() const {
  Markup out;
  out.add("<div class=scroll role=region tabindex=0 aria-label=\"{}\">", caption_);
  out.add("<table class=\"{}\"><caption>{}</caption><thead><tr>",
          fmt::format("sort{}{}", rows_ >= kRowsToFilter ? " filter" : "",
                      columns_.front().align == Align::kName ? " named" : ""),
          caption_);
  for (const Column& column : columns_) {
    out.add("<th scope=col class={}>{}</th>", column.align == Align::kNumber ? "n" : "t",
            column.title);
  }
  return out.add("</tr></thead><tbody>\n{}</tbody></table></div>\n", body_);
}

Markup name_cell(std::string_view text) {
  return markup("<code>{}</code>", text);
}

Markup value_cell(const std::optional<double>& value, std::string_view unit) {
  return markup("{}", format_value(value, unit));
}

Markup count_cell(std::int64_t count) {
  return markup("{}", format_count(count));
}

}  // namespace mg::html
