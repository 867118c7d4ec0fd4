/** Shows a request: its progress while it runs, and its results. */

import * as api from "./api.js";
import { showHistogram, showTotal } from "./charts.js";
import { offerDownload } from "./download.js";
import { $, announce, element, focusOn, isWebAddress, pause, showFigures, showOffer, showText } from "./dom.js";
import { ago, count, dateTime, duration, number, percent, saving, size } from "./format.js";
import { closeImages, failuresTitle, openImages } from "./images.js";
import { optionsText } from "./options.js";
import { poll } from "./poll.js";
import { hasEnded, isFinished, isRenewed, nameOf, showBadge, titleOf } from "./status.js";

const PAUSE = 1000;
const TOLD_EVERY = 25; // percent of progress, to a screen reader
const WORK = {
  retry: "Trying the failed images again",
  refresh: "Asking the hosts for changed images",
  recompress: "Compressing the images with today's version",
};
const OUTCOMES = { completed: "Completed", failed: "The request failed", cancelled: "Cancelled" };

let id = null;
let shown = null; // the last status
let opened = null; // AbortController of all that belongs to the request on show
let pace = null; // { time, done } when the first image count was seen
let told = 0;
let setTitle = () => {};

export function startRequest(options) {
  setTitle = options.setTitle;
  $("cancel").addEventListener("click", cancelRequest);
  $("retry").addEventListener("click", retryRequest);
  $("retry-request").addEventListener("click", retryRequest);
}

/** Show a request and follow it until `closeRequest`. */
export function openRequest(requestId) {
  closeRequest();
  id = requestId;
  opened = new AbortController();
  shown = null;
  $("request-title").textContent = `Request ${id.slice(0, 8)}`;
  $("request-badge").hidden = true;
  $("request-times").textContent = "Asking for its status…";
  setTitle($("request-title").textContent);
  follow();
}

export function closeRequest() {
  opened?.abort();
  closeImages();
  for (const name of ["progress", "outcome", "warnings", "trouble", "request-note"]) $(name).hidden = true;
}

function follow() {
  const { signal } = opened;
  [pace, told] = [null, 0];
  poll({
    signal,
    ask: () => api.requestStatus(id, signal),
    onAnswer: (status) => {
      show(status);
      return isFinished(status) ? null : PAUSE;
    },
    onTrouble: showTrouble,
  }).catch(showEnd);
}

function show(status) {
  const before = shown;
  shown = status;
  $("request-title").textContent = nameOf(status);
  showBadge($("request-badge"), status);
  showTimes(status);
  setTitle(titleOf(status));
  showWarnings(status.warnings);
  $("progress").hidden = isFinished(status);
  $("outcome").hidden = !hasEnded(status);
  if (!isFinished(status)) showProgress(status, before);
  if (hasEnded(status) && !isShown(status, before)) showOutcome(status, before);
}

/** Says whether this outcome is on show: it stays as it is while images are tried again or renewed. */
function isShown(status, before) {
  return Boolean(before) && hasEnded(before) && isFinished(before) === isFinished(status) && before.finished === status.finished;
}

function showTimes({ created, finished, upkeep }) {
  if (!created) return showText($("request-times"), null);
  const parts = [`Handed in ${dateTime(created)}`];
  if (upkeep?.status === "completed") parts.push(`brought up to date ${ago(upkeep.finished)}`);
  else if (finished) parts.push(`finished ${ago(finished)}, after ${duration((new Date(finished) - new Date(created)) / 1000)}`);
  showText($("request-times"), parts.join(", "));
}

function showWarnings(warnings) {
  $("warnings").hidden = warnings.length === 0;
  $("warnings").replaceChildren(...warnings.map((warning) => element("li", { dir: "auto" }, warning)));
}

// While it runs

function showProgress(status, before) {
  const work = isRenewed(status) ? status.upkeep : status;
  const { total, done, failed, percent: part } = work.progress;
  const waits = work.status === "In queue";
  $("progress-title").textContent = waits ? "Waiting for its turn" : (WORK[status.upkeep?.what] ?? "Compressing the images");
  if (total === null) $("progress-bar").removeAttribute("value");
  else $("progress-bar").value = part;
  const parts = total === null ? [] : [`${number(done)} of ${count(total, "image")}`];
  if (failed) parts.push(`${number(failed)} failed`);
  const left = secondsLeft(work.progress);
  if (left !== null) parts.push(`about ${duration(left)} left`);
  $("progress-text").textContent = parts.join(" · ") || (waits ? "It begins shortly." : "Reading the CSV…");
  if (work.status !== (before?.upkeep ?? before)?.status) announce($("progress-title").textContent);
  if (total && part >= told + TOLD_EVERY) {
    told = Math.floor(part / TOLD_EVERY) * TOLD_EVERY;
    announce(`${number(done)} of ${count(total, "image")} done.`);
  }
}

/** Estimates the time left by the pace since this page was opened; null as long as that is too short. */
function secondsLeft({ total, done }) {
  if (!done) return null;
  pace ??= { time: performance.now(), done };
  const seconds = (performance.now() - pace.time) / 1000;
  const more = done - pace.done;
  return seconds < 3 || more < 1 || done >= total ? null : ((total - done) * seconds) / more;
}

async function cancelRequest() {
  const { signal } = opened;
  const button = $("cancel");
  button.disabled = true;
  button.textContent = "Cancelling…";
  showText($("request-note"), null);
  try {
    await untilStarted(() => api.cancel(id, signal), signal);
    announce("Cancelling.");
  } catch (error) {
    if (!api.isAbort(error) && error.code !== "already_finished") showText($("request-note"), error.message);
  } finally {
    if (!signal.aborted) await pause(PAUSE * 2, signal).catch(() => {});
    button.disabled = false;
    button.textContent = "Cancel this request";
  }
}

/** A request whose run does not exist yet cannot be cancelled: ask again when the service says so. */
async function untilStarted(ask, signal) {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (error.code !== "not_started" || signal.aborted || isFinished(shown)) throw error;
      await pause((error.retryAfter ?? 1) * 1000, signal);
    }
  }
}

// When it has ended

function showOutcome(status, before) {
  const { failed } = status.progress;
  const isDone = status.status === "completed";
  $("outcome-title").textContent = isDone ? headline(status) : OUTCOMES[status.status];
  showText($("outcome-error"), status.error?.message);
  showText($("outcome-upkeep"), upkeepText(status.upkeep));
  showFigures($("outcome-figures"), figures(status));
  showTotal(isDone ? status : { bytes_before: null });
  showActions(status);
  if (before && !isFinished(before)) {
    announce(`${nameOf(status)}: ${$("outcome-title").textContent}. ${failed ? failuresTitle(failed) : ""}`);
    focusOn($("outcome-title"), { preventScroll: true });
  }
  $("failures-title").textContent = failuresTitle(failed);
  if (isDone) showImages(status);
}

/** Says of the newest work beside a result that it came to nothing; null if it did not, or is under way. */
function upkeepText(upkeep) {
  if (!["failed", "cancelled"].includes(upkeep?.status)) return null;
  const time = ago(upkeep.finished ?? upkeep.since);
  const end = upkeep.status === "cancelled" ? `was cancelled ${time}.` : `failed ${time}: ${upkeep.error?.message ?? ""}`;
  return `${WORK[upkeep.what]} ${end} The result stays as it was.`;
}

function headline({ progress, bytes_before: before, bytes_after: after }) {
  if (progress.failed && progress.failed === progress.total) return "No image could be compressed";
  const fraction = saving(before, after);
  return fraction > 0.005 ? `${percent(fraction)} saved` : "Completed";
}

function figures(status) {
  const { total, done, failed } = status.progress;
  const { bytes_before: before, bytes_after: after } = status;
  const sizes = status.status === "completed" && before;
  return [
    ["Rows", status.rows === null ? null : number(status.rows)],
    ["Images", total === null ? null : number(total)],
    ["Compressed", total === null ? null : number(done - failed)],
    ["Failed", total === null ? null : number(failed)],
    ["Saved", sizes ? size(Math.max(0, before - after)) : null],
    ["Made with", status.options && optionsText(status.options)],
  ];
}

function showActions(status) {
  const show = (link, isThere, what) => {
    link.hidden = !isThere;
    if (isThere) offerDownload(link, id, what, showError);
  };
  show($("download-result"), status.result !== null, "result/");
  show($("download-archive"), status.archive_url !== null, "archive/");
  show($("download-report"), status.report_url !== null, "report/");
  show($("download-failures"), status.failures_url !== null, "failures.csv");
  $("retry-request").hidden = status.status === "completed";
  $("retry-request").textContent = status.status === "cancelled" ? "Go on with it" : "Try again";
  $("run-link").hidden = !isWebAddress(status.run_url);
  if (isWebAddress(status.run_url)) $("run-link").href = status.run_url;
}

function showImages(status) {
  const { signal } = opened;
  openImages(status, { onError: showError, signal });
  showHistogram(status, signal).catch((error) => {
    if (!api.isAbort(error) && error.code === undefined) throw error; // the list of images says the rest
  });
}

async function retryRequest(event) {
  const { signal } = opened;
  const button = event.currentTarget;
  button.disabled = true;
  showText($("request-note"), null);
  try {
    const { status } = await api.retry(id, signal);
    if (shown.status !== "completed") {
      closeImages();
      show({ ...shown, status, finished: null, error: null, warnings: [] });
    }
    focusOn($("request-title"));
    follow();
  } catch (error) {
    if (!api.isAbort(error)) showError(error);
  } finally {
    button.disabled = false;
  }
}

// When something goes wrong

function showTrouble(error, wait) {
  const box = $("trouble");
  if (error === null) {
    box.hidden = true;
    announce("The service answers again.");
    return;
  }
  if (box.hidden) announce(error.message);
  const text = `${error.message} Your request is safe. The next try is in ${duration(wait / 1000)}.`;
  showOffer(box, text, "Try now", () => window.dispatchEvent(new Event("try-now")));
}

/** Shows a failure that stays when the page asks again. */
function showEnd(error) {
  if (api.isAbort(error)) return;
  if (error.code === undefined) throw error;
  $("request-times").textContent = "";
  $("trouble").hidden = true;
  if (error.code === "unauthorized") {
    showOffer($("request-note"), error.message, "Enter the token", () => {
      $("request-note").hidden = true;
      follow();
    });
  } else {
    showError(error);
    $("progress").hidden = true;
    setTitle("Not found");
  }
}

function showError(error) {
  showText($("request-note"), error.message);
}
