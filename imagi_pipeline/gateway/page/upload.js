/** Makes a request of a dropped or chosen CSV: inspects it, lets people correct, sends it. */

import * as api from "./api.js";
import { forgetBatch, offerBatch, randomKey, startBatch } from "./batch.js";
import { $, announce, focusOn, showText } from "./dom.js";
import { count, percent } from "./format.js";
import { columnsOf } from "./header.js";
import { showColumns, showInspection, tickedColumns } from "./inspection.js";
import { chosenOptions, resetOptions, showOptions, startOptions } from "./options.js";

const CHANGE_PAUSE = 300; // milliseconds, so that several boxes ticked in a row are one question
const CHOICE_HELPS = ["no_image_references", "unknown_column", "invalid_url"];
const LONG_NAME = 80;

let csv = null;
let chosenColumns = []; // none: the service finds them
let seen = false; // whether the button sends what was seen, or looks again
let suggested = false; // whether the columns on offer come from this page and not from the service
let keys = new Map();
let working = null; // the AbortController of what is under way
let changeTimer = 0;

/** Listen for files; `onAccepted(requestId)` hears of each request, `onTaken()` of each file. */
export function startUpload({ onAccepted, onTaken }) {
  $("choose").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => {
    if ($("file").files.length) take($("file").files, onTaken);
    $("file").value = ""; // so that the same file can be chosen again
  });
  startBatch();
  $("forget").addEventListener("click", () => {
    forget();
    $("choose").focus();
  });
  $("choices").addEventListener("submit", (event) => {
    event.preventDefault();
    inspectSoon();
  });
  $("columns-list").addEventListener("change", () => {
    chosenColumns = tickedColumns();
    inspectSoon();
  });
  $("base-url").addEventListener("change", inspectSoon);
  startOptions(inspectSoon);
  $("send").addEventListener("click", () => (seen ? send(onAccepted) : inspect()));
  $("stop-sending").addEventListener("click", () => working?.abort());
  startDropping(onTaken);
}

/** Take a drop on the whole window: a file that misses a target would replace the page. */
function startDropping(onTaken) {
  const carriesFile = (event) => event.dataTransfer?.types.includes("Files");
  let depth = 0; // a drag enters and leaves each element on its way
  const mark = () => $("drop").classList.toggle("over", depth > 0);
  window.addEventListener("dragenter", (event) => {
    if (carriesFile(event)) depth += 1;
    mark();
  });
  window.addEventListener("dragleave", (event) => {
    if (carriesFile(event)) depth = Math.max(0, depth - 1);
    mark();
  });
  window.addEventListener("dragover", (event) => {
    if (!carriesFile(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
  });
  window.addEventListener("drop", (event) => {
    depth = 0;
    mark();
    if (!carriesFile(event) || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    take(event.dataTransfer.files, onTaken);
  });
}

function take(files, onTaken) {
  onTaken();
  forget();
  if (files.length > 1) {
    offerBatch(files);
    return;
  }
  csv = files[0];
  $("inspection").hidden = false;
  showDrop({ isSmall: true });
  $("inspection-title").textContent = shortened(csv.name);
  focusOn($("inspection-title"));
  inspect();
}

/** Go back to an empty page. */
export function forget() {
  working?.abort();
  clearTimeout(changeTimer);
  [csv, chosenColumns, seen, suggested, keys] = [null, [], false, false, new Map()];
  $("base-url").value = "";
  $("in-place").checked = false;
  resetOptions();
  forgetBatch();
  showText($("inspection-note"), null);
  showColumns([], []);
  showInspection(null);
  $("choices").hidden = true;
  $("inspection").hidden = true;
  showDrop({ isSmall: false });
}

/** Make the place to drop a file less prominent while there is a file. */
function showDrop({ isSmall }) {
  $("drop").classList.toggle("small", isSmall);
  $("choose").classList.toggle("primary", !isSmall);
  $("drop-text").textContent = isSmall ? "Drop another CSV here" : "Drop a CSV here";
  $("choose").textContent = isSmall ? "Choose another" : "Choose a CSV";
}

const choices = () => ({
  urlColumns: chosenColumns,
  baseUrl: $("base-url").value.trim(),
  inPlace: $("in-place").checked,
  options: chosenOptions(),
});

function inspectSoon() {
  clearTimeout(changeTimer);
  $("send").disabled = true; // what is sent is what was seen
  changeTimer = setTimeout(inspect, CHANGE_PAUSE);
}

async function inspect() {
  const { signal } = begin("Looking into the file…");
  $("send").disabled = true;
  try {
    await assertReadable(csv);
    const found = await api.inspect(csv, choices(), { signal, onProgress: showProgress });
    end(signal);
    showFound(found);
  } catch (error) {
    if (!signal.aborted) await showRefusal(error, signal);
  }
}

function showFound(found) {
  showText($("inspection-note"), null);
  showInspection(found);
  suggested = false;
  showColumns(found.columns, found.url_columns);
  showOptions(found.options);
  $("columns-hint").textContent = chosenColumns.length
    ? "As you chose. Untick all to have them found by their values."
    : "Found by their values. Correct them if they are wrong.";
  $("choices").hidden = false;
  const images = count(found.references.distinct, "image");
  offer(`Compress ${images}`, { isSeen: true });
  const left = found.problems.total ? ` ${count(found.problems.total, "entry", "entries")} cannot be used.` : "";
  announce(`${images} found in ${count(found.rows, "row")}.${left}`);
}

async function showRefusal(error, signal) {
  if (!(error instanceof api.ApiError)) throw error; // a fault of this page belongs into the console
  const columnsKnown = $("columns-list").childElementCount > 0;
  const names = CHOICE_HELPS.includes(error.code) && !columnsKnown ? await columnsOf(csv).catch(() => []) : null;
  if (signal.aborted) return;
  end(signal);
  showInspection(null);
  showText($("inspection-note"), error.message);
  $("send").textContent = "Compress the images";
  if (CHOICE_HELPS.includes(error.code)) {
    if (names) {
      suggested = true;
      showColumns(names, chosenColumns);
    }
    if (suggested) $("columns-hint").textContent = "Tick the column that holds the image URLs.";
    $("choices").hidden = false;
  }
  if (error.isPassing || error.code === "unauthorized") offer("Look again", { isSeen: false });
}

function offer(label, { isSeen }) {
  seen = isSeen;
  $("send").textContent = label;
  $("send").disabled = false;
}

async function send(onAccepted) {
  const { signal } = begin("Sending…", { canStop: true });
  showText($("inspection-note"), null);
  $("send").disabled = true;
  $("stop-sending").focus();
  try {
    await assertReadable(csv);
    const idempotencyKey = keyOf(choices());
    const accepted = await api.upload(csv, choices(), { idempotencyKey, signal, onProgress: showProgress });
    end(signal);
    forget();
    onAccepted(accepted.request_id);
  } catch (error) {
    if (signal.aborted && working?.signal !== signal) return; // another file has taken its place
    end(signal);
    const again = " Press the button again: it becomes one request, however often it is sent.";
    $("send").disabled = false;
    $("send").focus();
    if (api.isAbort(error)) return;
    if (!(error instanceof api.ApiError)) throw error;
    showText($("inspection-note"), error.message + (error.isPassing ? again : ""));
  }
}

/** Make the key of an upload: the same file with the same choices is one request. */
function keyOf(made) {
  const text = JSON.stringify(made);
  if (!keys.has(text)) keys.set(text, randomKey());
  return keys.get(text);
}

async function assertReadable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    const why = "It may have been changed, moved or be a folder. Choose it again.";
    throw new api.ApiError("unreadable_file", `The file cannot be read. ${why}`, { status: 400 });
  }
}

function begin(label, { canStop = false } = {}) {
  working?.abort();
  working = new AbortController();
  $("inspection-progress-label").textContent = label;
  $("inspection-progress").removeAttribute("value");
  $("inspection-busy").hidden = false;
  $("stop-sending").hidden = !canStop;
  announce(label);
  return working;
}

function end(signal) {
  if (working?.signal !== signal) return;
  working = null;
  $("inspection-busy").hidden = true;
}

function showProgress(fraction) {
  if (fraction === null || fraction >= 1) $("inspection-progress").removeAttribute("value");
  else {
    $("inspection-progress").value = fraction;
    $("inspection-progress").textContent = percent(fraction);
  }
}

function shortened(name) {
  return name.length <= LONG_NAME ? name : `${name.slice(0, LONG_NAME / 2)}…${name.slice(-LONG_NAME / 2)}`;
}
