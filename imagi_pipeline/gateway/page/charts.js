/** Draws two small charts out of plain elements: their text is their text alternative. */

import * as api from "./api.js";
import { $, element } from "./dom.js";
import { count, number, percent, saving, size } from "./format.js";

const CLASSES = 10; // of the histogram, each as wide as the other
const MOST = 1000; // images that the histogram looks at
const PAGE = 500;

/** Draws two bars: the bytes of all images before and after. */
export function showTotal(request) {
  const { bytes_before: before, bytes_after: after } = request;
  const chart = $("total-chart");
  chart.hidden = !before;
  if (!before) return;
  const longest = Math.max(before, after);
  chart.replaceChildren(totalBar("Before", before, longest), totalBar("After", after, longest));
}

function totalBar(label, bytes, longest) {
  const bar = element("span", { class: "total-bar" });
  bar.style.setProperty("--part", `${(bytes / longest) * 100}%`);
  const value = element("span", { class: "total-value" }, size(bytes));
  return element(
    "p",
    { class: `total-row ${label.toLowerCase()}` },
    element("span", { class: "total-label" }, label),
    element("span", { class: "total-track" }, bar),
    value,
  );
}

/** Draws how many images became smaller by how much; nothing for a single image, whose card says it. */
export async function showHistogram(request, signal) {
  const { request_id: id, progress } = request;
  if (progress.total - progress.failed < 2) return;
  const { images, total } = await someImages(id, signal);
  const savings = images.map((image) => saving(image.source_bytes, image.bytes)).filter((part) => part !== null);
  if (signal.aborted || savings.length === 0) return;
  const counts = new Array(CLASSES).fill(0);
  for (const part of savings) counts[Math.min(CLASSES - 1, Math.max(0, Math.floor(part * CLASSES)))] += 1;
  $("histogram").replaceChildren(...counts.map((value, index) => column(value, index, Math.max(...counts))));
  const scope = images.length < total ? ` of the first ${count(images.length, "image")}` : "";
  $("histogram-hint").textContent = `Number of images${scope} by how much smaller they became.`;
  $("savings").hidden = false;
}

function column(value, index, highest) {
  const bar = element("span", { class: "column", "aria-hidden": "true" });
  bar.style.setProperty("--part", `${(value / highest) * 100}%`);
  const [from, to] = [index / CLASSES, (index + 1) / CLASSES].map(percent);
  return element(
    "li",
    value ? {} : { class: "none" },
    element("span", { class: "visually-hidden" }, `${count(value, "image")} became ${from} to ${to} smaller`),
    element("span", { class: "column-count", "aria-hidden": "true" }, number(value)),
    bar,
    element("span", { class: "column-label", "aria-hidden": "true" }, from),
  );
}

async function someImages(id, signal) {
  const found = [];
  for (;;) {
    const { images, total } = await api.images(id, { offset: found.length, limit: PAGE, signal });
    found.push(...images);
    if (images.length === 0 || found.length >= Math.min(MOST, total)) return { images: found, total };
  }
}
