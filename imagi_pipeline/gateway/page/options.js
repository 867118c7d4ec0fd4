/** What the images of a request are made with: the choice before it is sent, and how it is told. */

import { $ } from "./dom.js";
import { number } from "./format.js";

const NAMES = ["preset", "quality", "format", "longest_side", "png"];
const NO_LIMIT = "as large as it is";

const control = (name) => $(`option-${name.replace("_", "-")}`);

/** Returns the options that were chosen, by the names of the API; what is left to the service is not among them. */
export function chosenOptions() {
  const given = NAMES.map((name) => [name, control(name).value.trim()]);
  return Object.fromEntries(given.filter(([, value]) => value !== ""));
}

/** Hears of each change, also while a number is being typed. */
export function startOptions(onChange) {
  for (const name of NAMES) control(name).addEventListener("input", onChange);
}

/** Leaves all to the service again. */
export function resetOptions() {
  for (const name of NAMES) control(name).value = "";
  $("options").open = false;
}

/** Shows what images would be made with; where nothing was chosen, that is the default of the service. */
export function showOptions(made) {
  $("options-made").textContent = optionsText(made);
  for (const name of NAMES) {
    const target = control(name);
    const value = made[name] ?? NO_LIMIT;
    if (target.value !== "") continue;
    if (target.tagName === "SELECT") target.options[0].textContent = `${value} (default)`;
    else target.placeholder = `${value} (default)`;
  }
}

/** Writes one line: "balanced, quality 80, webp, at most 1,200 px". */
export function optionsText({ preset, quality, format, longest_side: side, png }) {
  const parts = [preset, `quality ${number(quality)}`];
  if (format !== "same") parts.push(format);
  if (side !== null) parts.push(`at most ${number(side)} px`);
  if (png !== "auto") parts.push(`PNG ${png}`);
  return parts.join(", ");
}
