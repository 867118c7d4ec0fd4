/** Shows what was found in a CSV before it is sent: figures, problems, first references, a choice of columns. */

import { $, element, showFigures, showText } from "./dom.js";
import { count, number } from "./format.js";

const PROBLEMS_SHOWN = 5;
const MANY_COLUMNS = 12; // more do not fit in sight: the ticked ones come first

/** Show an Inspection of the service, or nothing (null). */
export function showInspection(found) {
  $("found").hidden = !found;
  showText($("found-file"), found && `${found.encoding.toUpperCase()}, separated by ${delimiterName(found.delimiter)}`);
  if (!found) return;
  showFigures($("found-figures"), [
    ["Rows", number(found.rows)],
    ["Image references", number(found.references.total)],
    ["Different images", number(found.references.distinct)],
  ]);
  showProblems(found.problems);
  showReferences(found.references);
}

function showProblems({ total, first }) {
  $("found-problems").hidden = total === 0;
  $("found-problems-title").textContent = `${count(total, "entry", "entries")} cannot be used and will be left out`;
  const shown = first.slice(0, PROBLEMS_SHOWN);
  const items = shown.map((problem) =>
    element(
      "li",
      {},
      element("span", { class: "place" }, `Row ${number(problem.row)}, ${problem.column}: `),
      element("code", { dir: "auto" }, problem.value),
      element("span", { class: "reason" }, ` ${problem.message}`),
    ),
  );
  if (total > shown.length) items.push(element("li", {}, `… and ${number(total - shown.length)} more.`));
  $("found-problems-list").replaceChildren(...items);
}

function showReferences({ total, first }) {
  $("found-first").hidden = total === 0;
  $("found-first-rows").replaceChildren(
    ...first.map((reference) =>
      element(
        "tr",
        {},
        element("td", {}, number(reference.row)),
        element("td", { dir: "auto" }, reference.column),
        element("td", { class: "url" }, reference.url),
      ),
    ),
  );
}

/** Offer columns to tick; those that are there already keep their place, and so the focus. */
export function showColumns(columns, ticked) {
  const boxes = [...$("columns-list").querySelectorAll("input")];
  if (boxes.length === columns.length && boxes.every((box) => columns.includes(box.value))) {
    for (const box of boxes) box.checked = ticked.includes(box.value);
    return;
  }
  const isTicked = (column) => ticked.includes(column);
  const inOrder =
    columns.length > MANY_COLUMNS ? [...columns].sort((one, other) => isTicked(other) - isTicked(one)) : columns;
  $("columns-list").replaceChildren(
    ...inOrder.map((column) => {
      const box = element("input", { type: "checkbox", name: "column", value: column });
      box.checked = isTicked(column);
      return element("label", { class: "check" }, box, element("span", { dir: "auto" }, column));
    }),
  );
  $("columns").hidden = columns.length === 0;
}

/** Returns the columns that are ticked. */
export function tickedColumns() {
  return [...$("columns-list").querySelectorAll("input:checked")].map((box) => box.value);
}

function delimiterName(delimiter) {
  const names = { ",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars" };
  return names[delimiter] ?? delimiter;
}
