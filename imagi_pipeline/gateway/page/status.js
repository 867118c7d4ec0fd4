/** Tells the status of a request: in a badge, in a line, in the title. */

import { count, number, percent, saving } from "./format.js";
import { optionsText } from "./options.js";

const WORDS = {
  "In queue": "In queue",
  processing: "Processing",
  completed: "Completed",
  failed: "Failed",
  cancelled: "Cancelled",
};

const ENDS = ["completed", "failed", "cancelled"];

/** Says whether it has ended once; its result stays while images are tried again or renewed. */
export const hasEnded = (request) => ENDS.includes(request.status);

/** Says whether nothing more happens by itself. */
export const isFinished = (request) => hasEnded(request) && !isRenewed(request);

/** Says whether images of a completed request are being tried again or renewed. */
export const isRenewed = ({ upkeep }) => Boolean(upkeep) && !ENDS.includes(upkeep.status);

export const nameOf = (request) => request.file ?? `Request ${request.request_id.slice(0, 8)}`;

export function showBadge(badge, request) {
  const { failed } = request.progress;
  badge.hidden = false;
  badge.textContent = WORDS[request.status] ?? request.status;
  badge.dataset.status = request.status === "completed" && failed ? "partly" : request.status.replace(" ", "-");
}

/** Writes one line: "120 images, 2 failed, 45% smaller · balanced, quality 80". */
export function factsOf(request) {
  const { total, done, failed } = request.progress;
  if (request.status === "failed") return request.error?.message ?? "";
  const options = request.options ? optionsText(request.options) : "";
  if (total === null) return options;
  const facts = [hasEnded(request) ? count(total, "image") : `${count(done, "image")} of ${count(total, "image")}`];
  if (failed) facts.push(`${number(failed)} failed`);
  const fraction = saving(request.bytes_before, request.bytes_after);
  if (request.status === "completed" && fraction > 0.005) facts.push(`${percent(fraction)} smaller`);
  return [facts.join(", "), options].filter(Boolean).join(" · ");
}

/** Returns the window's title. */
export function titleOf(request) {
  const { percent: part, total } = request.progress;
  if (request.status === "processing" && total) return `${Math.floor(part)}% · ${nameOf(request)}`;
  return `${WORDS[request.status] ?? request.status} · ${nameOf(request)}`;
}
