/** Shows the images of a finished request: failures with reasons, the others before and after. */

import * as api from "./api.js";
import { comparison } from "./comparison.js";
import { $, copyOf, element, isWebAddress, onSearch, showText } from "./dom.js";
import { count, nameOf, number, saving, savingText, size } from "./format.js";
import { openPages } from "./pages.js";
import { Sources } from "./sources.js";

let opened = null; // AbortController of the images on show
let sources = null;
let listed = null; // AbortController of the list of images, which another search replaces
let showList = () => {};
let large = null; // the card whose image is in the dialog
const imageOfCard = new WeakMap();

export function startImages() {
  for (const choice of document.querySelectorAll("input[name=comparison]")) {
    choice.addEventListener("change", () => (document.body.dataset.comparison = choice.value));
    if (choice.checked) document.body.dataset.comparison = choice.value;
  }
  onSearch($("images-search"), () => showList());
  for (const choice of document.querySelectorAll("input[name=zoom]")) choice.addEventListener("change", zoom);
  $("large-close").addEventListener("click", () => $("large").close());
  $("large-previous").addEventListener("click", () => showLarge(neighbour("previousElementSibling")));
  $("large-next").addEventListener("click", () => showLarge(neighbour("nextElementSibling")));
  $("large").addEventListener("close", () => {
    $("large-place").replaceChildren();
    large?.querySelector(".enlarge").focus();
    large = null;
  });
}

/** Show the images of a completed request until `closeImages`. */
export function openImages(request, { onError, signal: outer }) {
  closeImages();
  opened = new AbortController();
  sources = new Sources(request.request_id);
  const signal = AbortSignal.any([opened.signal, outer]);
  const { total, failed } = request.progress;
  $("failures").hidden = !failed;
  $("images").hidden = total === failed;
  if (failed) {
    showFailures(request.request_id, signal).catch((error) => api.isAbort(error) || onError(error));
  }
  if (total !== failed) {
    showList = () => showImages(request.request_id, { onError, signal });
    showList();
  }
}

export function closeImages() {
  opened?.abort();
  sources?.close();
  sources = null;
  if ($("large").open) $("large").close();
  for (const name of ["failures", "images", "savings"]) $(name).hidden = true;
  for (const name of ["images-text", "images-show"]) $(name).value = "";
  $("images-order").value = "csv";
  $("failures-list").replaceChildren();
  $("images-list").replaceChildren();
}

function showImages(id, { onError, signal: outer }) {
  listed?.abort();
  listed = new AbortController();
  const signal = AbortSignal.any([listed.signal, outer]);
  const show = $("images-show").value;
  const wanted = {
    text: $("images-text").value.trim(),
    order: $("images-order").value,
    ...(show === "kept" ? { kept: true } : { status: show }),
  };
  openPages({
    list: $("images-list"),
    button: $("images-more"),
    load: async (offset, limit) => {
      const page = await api.images(id, { ...wanted, offset, limit, signal });
      $("images-count").textContent = count(page.total, "image");
      return page;
    },
    render: imageCard,
    onError,
    signal,
  });
}

async function showFailures(id, signal) {
  const { groups } = await api.failures(id, signal);
  if (!signal.aborted) $("failures-list").replaceChildren(...groups.map(failureItem));
}

function failureItem({ host, error, transient, count: total, first }) {
  const item = copyOf("failure");
  item.querySelector(".failure-reason").textContent = error.message;
  item.querySelector("code").textContent = error.code;
  const kind = transient ? "may pass by itself" : "needs a change first";
  item.querySelector(".failure-kind span").textContent = `${count(total, "image")} of ${host}, ${kind}`;
  const images = first.map((image) =>
    element("li", {}, element("span", { class: "place", dir: "auto" }, placeOf(image)), " ", link(image.url)),
  );
  if (total > first.length) images.push(element("li", {}, `… and ${number(total - first.length)} more in the report.`));
  item.querySelector(".failure-images").replaceChildren(...images);
  return item;
}

/** Says where the CSV names an image, in the words of its rows: "Row 3, SKU-4711:". */
function placeOf({ rows, items }) {
  if (!rows.length) return "";
  const place = rows.length === 1 ? `Row ${number(rows[0])}` : `Rows ${rows.map(number).join(", ")}`;
  return `${[place, ...items].join(", ")}:`;
}

function imageCard(image) {
  const card = copyOf("image");
  imageOfCard.set(card, image);
  card.querySelector(".image-name").textContent = nameOf(image.url);
  card.querySelector(".image-name").title = image.url;
  if (image.status === "failed") return failedCard(card, image);
  const note = (text) => showText(card.querySelector(".image-note"), text);
  card.querySelector(".image-place").append(comparison(image, sources, note));
  showFacts(image, card.querySelector(".image-saving"), card.querySelector(".image-facts"));
  const left = 1 - Math.max(0, saving(image.source_bytes, image.bytes) ?? 0);
  card.querySelector(".bar span").style.setProperty("--part", `${left * 100}%`);
  card.querySelector(".enlarge").setAttribute("aria-label", `Enlarge ${nameOf(image.url)}`);
  card.querySelector(".enlarge").addEventListener("click", () => showLarge(card));
  const open = card.querySelector(".open");
  open.href = isWebAddress(image.output_url) ? image.output_url : "";
  open.setAttribute("aria-label", `Open ${nameOf(image.url)}, compressed, in a new tab`);
  return card;
}

function failedCard(card, image) {
  card.classList.add("failed");
  for (const name of [".bar", ".image-saving", ".image-links", ".image-note"]) card.querySelector(name).remove();
  card.querySelector(".image-place").append(element("p", { class: "no-image" }, "Failed"));
  card.querySelector(".image-facts").textContent = image.error.message;
  return card;
}

/** Shows what was saved in one element, and the sizes before and after in another. */
function showFacts(image, savingPlace, factsPlace) {
  savingPlace.textContent = image.kept_source ? "Kept as it was" : savingText(image.source_bytes, image.bytes);
  savingPlace.classList.toggle("kept", image.kept_source);
  const sizes = `${size(image.source_bytes)} → ${size(image.bytes)}`;
  const parts = [image.kept_source ? `${size(image.bytes)}, hardly compressible` : sizes, shapeChange(image)];
  if (image.status === "reused") parts.push("Reused: compressed before");
  factsPlace.replaceChildren(...parts.filter(Boolean).map((part) => element("span", {}, part)));
}

/** Writes format and size, and what they were: "JPEG 1600 × 1067", "TIFF 3000 × 2000 → JPEG 1600 × 1067". */
function shapeChange(image) {
  const shape = (format, width, height) => `${format} ${width} × ${height}`;
  const before = shape(image.source_format, image.source_width, image.source_height);
  const after = shape(image.format, image.width, image.height);
  return before === after ? after : `${before} → ${after}`;
}

function showLarge(card) {
  if (!card) return;
  large = card;
  const image = imageOfCard.get(card);
  const note = element("p", { class: "image-note", hidden: "" });
  const savingLine = element("p", { class: "image-saving" });
  const factsLine = element("p", { class: "image-facts" });
  showFacts(image, savingLine, factsLine);
  $("large-title").textContent = nameOf(image.url);
  $("large-place").replaceChildren(
    comparison(image, sources, (text) => showText(note, text)),
    savingLine,
    factsLine,
    note,
    element("p", { class: "failure-url" }, link(image.url)),
  );
  zoom();
  if (!$("large").open) $("large").showModal();
  $("large-previous").disabled = !neighbour("previousElementSibling");
  $("large-next").disabled = !neighbour("nextElementSibling");
  const current = document.activeElement;
  if (current?.disabled) $("large-close").focus();
}

/** Shows the large image in the chosen size; at 100% a pixel of the image is a pixel of the screen. */
function zoom() {
  const factor = Number(document.querySelector("input[name=zoom]:checked").value);
  const place = $("large-place").querySelector(".comparison");
  place?.classList.toggle("zoomed", factor > 0);
  if (!factor || !large || !place) return;
  const { width, height } = imageOfCard.get(large);
  place.style.setProperty("--width", `${(width * factor) / devicePixelRatio}px`);
  place.style.setProperty("--height", `${(height * factor) / devicePixelRatio}px`);
  const window = $("large-place"); // where the slider is, in the middle
  window.scrollLeft = (window.scrollWidth - window.clientWidth) / 2;
}

/** Returns the next card in a direction that has an image. */
function neighbour(direction) {
  let card = large?.[direction];
  while (card && card.classList.contains("failed")) card = card[direction];
  return card ?? null;
}

function link(url) {
  if (!isWebAddress(url)) return document.createTextNode(url);
  return element("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, url);
}

/** Returns the text of the summary line above the failures. */
export const failuresTitle = (failed) => `${count(failed, "image")} failed`;
