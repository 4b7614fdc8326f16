#include "reports/html/assets.h"

namespace mg::html {

// Adds what a page without script can do without: sorting by a click on a column's head, a search
// field over long tables, everything unfolded for print.
std::string_view page_script() {
  return R"JS(
"use strict";
(() => {
  const number = text => {
    const plain = text.replace(/,/g, "").trim();
    const found = plain.match(/^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?/i);
    return found ? Number(found[0]) : NaN;
  };
  const compare = (left, right, numeric) => {
    if (!numeric) return left.localeCompare(right, undefined, {numeric: true});
    const a = number(left), b = number(right);
    return Number.isNaN(a) ? (Number.isNaN(b) ? 0 : 1) : Number.isNaN(b) ? -1 : a - b;
  };
  const sortBy = (table, head, column) => {
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const numeric = head.classList.contains("n");
    const keyed = [...table.tBodies[0].rows].map(row => [row.cells[column].textContent, row]);
    const missing = text => numeric && Number.isNaN(number(text));
    keyed.sort((a, b) => missing(a[0]) || missing(b[0])
      ? compare(a[0], b[0], numeric) : (down ? -1 : 1) * compare(a[0], b[0], numeric));
    table.tBodies[0].append(...keyed.map(pair => pair[1]));
  };
  for (const table of document.querySelectorAll("table.sort")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sortBy(table, head, column));
      head.append(button);
    });
  }
  for (const table of document.querySelectorAll("table.filter")) {
    const field = document.createElement("input");
    field.type = "search";
    field.className = "find";
    field.placeholder = "show rows with ...";
    field.setAttribute("aria-label", "Show only rows of this table that contain");
    field.addEventListener("input", () => {
      const wanted = field.value.toLowerCase();
      for (const row of table.tBodies[0].rows) {
        row.hidden = !row.textContent.toLowerCase().includes(wanted);
      }
    });
    table.parentNode.before(field);
  }
  addEventListener("beforeprint", () => {
    for (const folded of document.querySelectorAll("details")) folded.open = true;
  });
})();
)JS";
}

}  // namespace mg::html
