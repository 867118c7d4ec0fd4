/** Lists the recent requests, newest first, and keeps them up to date while they can be seen. */

import * as api from "./api.js";
import { $, announce, copyOf, onSearch, showOffer, showText } from "./dom.js";
import { ago, count, dateTime } from "./format.js";
import { poll } from "./poll.js";
import { factsOf, isFinished, nameOf, showBadge } from "./status.js";

const PAGE = 10;
const PAUSE_WHILE_WORKING = 2000;
const PAUSE = 10_000;

let cursor = null; // behind the last row
let watching = null;

/** Show the list and keep it up to date until `closeList`. */
export function openList() {
  closeList();
  watching = new AbortController();
  const { signal } = watching;
  poll({
    signal,
    ask: () => api.recentRequests({ limit: PAGE, ...searched(), signal }),
    onAnswer: (answer) => {
      showText($("recent-note"), null);
      return showNewest(answer);
    },
    onTrouble: (error) => showText($("recent-note"), error && `${error.message} The list may be out of date.`),
  }).catch((error) => {
    if (error.code === "unauthorized") showOffer($("recent-note"), error.message, "Enter the token", openList);
    else showText($("recent-note"), error.message);
  });
}

export function closeList() {
  watching?.abort();
}

export function startList() {
  $("recent-more").addEventListener("click", showMore);
  onSearch($("recent-search"), () => {
    $("recent-list").replaceChildren();
    openList();
  });
}

function showNewest({ requests, next }) {
  const list = $("recent-list");
  const firstTime = list.childElementCount === 0;
  const newest = requests.map((request) => filledRow(request));
  // Rows stay the same elements, so the focus stays where it is.
  newest.forEach((row, index) => {
    if (list.children[index] !== row) list.insertBefore(row, list.children[index] ?? null);
  });
  if (firstTime) setCursor(next);
  const { file, status } = searched();
  const none = file || status ? "None that fits." : "None yet. Your requests will be listed here.";
  showText($("recent-empty"), list.childElementCount > 0 ? null : none);
  return requests.every(isFinished) ? PAUSE : PAUSE_WHILE_WORKING;
}

async function showMore() {
  const button = $("recent-more");
  button.disabled = true;
  try {
    const { requests, next } = await api.recentRequests({ limit: PAGE, cursor, ...searched(), signal: watching.signal });
    const rows = requests.map((request) => filledRow(request));
    $("recent-list").append(...rows);
    setCursor(next);
    announce(`${count(rows.length, "older request")} shown.`);
    if (!next) rows[0]?.querySelector("a").focus();
  } catch (error) {
    if (!api.isAbort(error)) showText($("recent-note"), error.message);
  } finally {
    button.disabled = false;
    if (!button.hidden) button.focus();
  }
}

const searched = () => ({ file: $("recent-file").value.trim(), status: $("recent-status").value });

function setCursor(next) {
  cursor = next;
  $("recent-more").hidden = next === null;
}

function filledRow(request) {
  const id = `row-${request.request_id}`;
  const row = $(id) ?? Object.assign(copyOf("request-row"), { id });
  const link = row.querySelector(".request-name");
  link.href = `#/requests/${request.request_id}`;
  setText(link, nameOf(request));
  showBadge(row.querySelector(".badge"), request);
  setText(row.querySelector(".request-facts"), factsOf(request));
  const time = row.querySelector(".request-time");
  const at = request.upkeep?.since ?? request.created; // the newest work is on top
  if (at) {
    time.dateTime = at;
    time.title = request.upkeep ? `Handed in ${dateTime(request.created)}` : ago(at);
    setText(time, dateTime(at));
  }
  return row;
}

function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}
