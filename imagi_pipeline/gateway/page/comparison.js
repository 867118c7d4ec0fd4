/** Shows an image before and after, under a slider or side by side (the list around it says which). */

import { copyOf } from "./dom.js";
import { nameOf } from "./format.js";

const SHOWN_BY_BROWSERS = ["JPEG", "MPO", "PNG", "GIF", "WEBP", "AVIF"];
const FLATTEST = 3; // width to height of a large comparison, at most; the inverse at least

/**
 * Makes the comparison of an image of the report. `sources` provides the source image, `onNote(text)` hears why one of the
 * two cannot be shown. The source is fetched only when it comes into sight.
 */
export function comparison(image, sources, onNote) {
  const root = copyOf("comparison");
  const name = nameOf(image.url);
  const after = root.querySelector(".after img");
  const before = root.querySelector(".before img");
  const slider = root.querySelector("input");

  after.alt = `${name}, compressed`;
  after.loading = "lazy";
  after.decoding = "async";
  after.addEventListener("error", () => {
    after.hidden = true;
    onNote("The compressed image cannot be loaded.");
  });
  after.src = image.output_url;

  const ratio = Math.min(FLATTEST, Math.max(1 / FLATTEST, image.width / image.height));
  root.style.setProperty("--ratio", ratio);

  slider.setAttribute("aria-label", `Before and after of ${name}`);
  slider.addEventListener("input", move);
  move();

  function move() {
    root.style.setProperty("--at", `${slider.value}%`);
    slider.setAttribute("aria-valuetext", `${slider.value}% before`);
  }

  async function showBefore() {
    root.classList.add("loading");
    try {
      before.src = await sources.address(image.key);
      await before.decode();
      before.alt = `${name}, source`;
      before.hidden = false;
      slider.disabled = false;
      root.classList.add("both");
    } catch (error) {
      if (error.name !== "AbortError") onNote(noteOf(error));
    } finally {
      root.classList.remove("loading");
    }
  }

  if (SHOWN_BY_BROWSERS.includes(image.source_format)) sources.onceSeen(root, showBefore);
  else onNote(`Browsers cannot show the source: it is a ${image.source_format}.`);
  return root;
}

function noteOf(error) {
  if (error.name === "EncodingError") return "This browser cannot show the source image.";
  return `No source image to compare: ${error.message}`;
}
