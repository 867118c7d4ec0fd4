/** Hands in several CSVs at once: each becomes a request, with the columns that the service finds. */

import * as api from "./api.js";
import { $, announce, element, focusOn } from "./dom.js";
import { count, size } from "./format.js";

let files = [];
let sending = null; // the AbortController of what is under way

export function startBatch() {
  $("batch-forget").addEventListener("click", () => {
    forgetBatch();
    $("choose").focus();
  });
  $("batch-send").addEventListener("click", send);
}

/** Offers to hand in several files. */
export function offerBatch(chosen) {
  files = [...chosen].map((file) => ({ file, key: randomKey(), row: rowOf(file) }));
  $("batch").hidden = false;
  $("batch-title").textContent = count(files.length, "file");
  $("batch-list").replaceChildren(...files.map(({ row }) => row));
  $("batch-send").textContent = `Compress the images of ${count(files.length, "file")}`;
  $("batch-send").hidden = false;
  focusOn($("batch-title"));
}

export function forgetBatch() {
  sending?.abort();
  files = [];
  $("batch").hidden = true;
}

function rowOf(file) {
  const name = element("span", { class: "batch-name", dir: "auto" }, file.name);
  return element("li", {}, name, element("span", { class: "batch-state" }, size(file.size)));
}

async function send() {
  sending = new AbortController();
  const { signal } = sending;
  $("batch-send").disabled = true;
  const left = [];
  for (const each of files) {
    if (signal.aborted) return;
    if (!(await sendOne(each, signal))) left.push(each);
  }
  if (signal.aborted) return;
  $("batch-send").disabled = false;
  const isPassing = left.filter(({ passes }) => passes);
  $("batch-send").hidden = isPassing.length === 0;
  $("batch-send").textContent = `Try ${count(isPassing.length, "file")} again`;
  announce(`${count(files.length - left.length, "file")} handed in, ${count(left.length, "file")} refused.`);
  files = isPassing;
}

/** Sends a file and says whether it was taken; with the same key it becomes one request, however often it is sent. */
async function sendOne(each, signal) {
  const state = each.row.querySelector(".batch-state");
  state.textContent = "Sending…";
  try {
    const choices = { urlColumns: [], baseUrl: "", inPlace: false, options: {} };
    const taken = await api.upload(each.file, choices, { idempotencyKey: each.key, signal, onProgress: () => {} });
    state.replaceChildren(element("a", { href: `#/requests/${taken.request_id}` }, "Handed in"));
    return true;
  } catch (error) {
    if (!(error instanceof api.ApiError)) throw error;
    each.passes = error.isPassing;
    state.textContent = error.message;
    each.row.classList.add("refused");
    return false;
  }
}

/** Does what crypto.randomUUID does, which plain http on a network does not have. */
export function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
