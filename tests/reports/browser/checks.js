// Runs inside the page: what a reader must find.  Returns the list of what is wrong.
const wrong = [];
const expect = (truth, what) => { if (!truth) wrong.push(what); };
const visible = element => element && element.getClientRects().length > 0;
const expected = arguments[0];  // {verdict, figures, width}

const verdict = document.getElementById("verdict");
expect(visible(verdict), "the verdict is shown");
expect(verdict && verdict.textContent.includes(expected.verdict), "the verdict is " + expected.verdict);
expect(verdict && verdict.getBoundingClientRect().bottom < innerHeight, "the verdict is on the first screen");
expect(document.querySelectorAll("figure").length >= expected.figures,
       "at least " + expected.figures + " figures, not " + document.querySelectorAll("figure").length);
for (const figure of document.querySelectorAll("figure")) {
  const drawing = figure.querySelector("svg");
  expect(figure.querySelector("p.empty") || (drawing && drawing.getAttribute("aria-label")),
         "each figure holds a named drawing or says why not");
}
expect(document.documentElement.scrollWidth <= innerWidth,
       "no sideways scrolling of the page: " + document.documentElement.scrollWidth + " > " + innerWidth);
for (const link of document.querySelectorAll("nav a")) {
  expect(document.getElementById(link.hash.slice(1)), "the link " + link.hash + " leads somewhere");
}
// Tables sort with the page's script: the numbers of a column come in order.
const prompts = [...document.querySelectorAll("table.sort")].find(table => /KL by prompt/.test(table.caption.textContent));
if (prompts) {
  prompts.closest("details").open = true;
  const column = 2;
  prompts.tHead.rows[0].cells[column].querySelector("button").click();
  const values = [...prompts.tBodies[0].rows].map(row => Number(row.cells[column].textContent));
  expect(values.every((value, i) => i === 0 || Number.isNaN(value) || values[i - 1] <= value), "a click sorts the table");
  expect(prompts.tHead.rows[0].cells[column].getAttribute("aria-sort") === "ascending", "and says so");
  const field = prompts.closest("details").querySelector("input");
  expect(Boolean(field) === values.length >= 12, "a long table has a field, a short one has none");
  if (field) {
    field.value = prompts.tBodies[0].rows[0].cells[0].textContent;
    field.dispatchEvent(new Event("input"));
    expect([...prompts.tBodies[0].rows].filter(row => !row.hidden).length === 1, "the field filters the rows");
  }
}
expect(!window.injected, "nothing of the report's texts runs");
return wrong;
