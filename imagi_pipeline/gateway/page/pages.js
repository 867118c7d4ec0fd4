/** Fetches a list one page at a time, by a button: nobody wants 100,000 rows at once. */

import { isAbort } from "./api.js";
import { announce } from "./dom.js";
import { count, number } from "./format.js";

const PAGE = 48;

/**
 * Fill `list` by `load(offset, limit)`, which gives { total, images }, and `render(image)`, which gives an element;
 * `button` fetches the next page. Failures go to `onError(error)`.
 */
export async function openPages({ list, button, load, render, onError, signal }) {
  let shown = 0;
  list.replaceChildren();

  async function next() {
    const { total, images } = await load(shown, PAGE);
    if (signal.aborted) return null;
    const items = images.map(render);
    list.append(...items);
    shown += items.length;
    const left = items.length ? total - shown : 0;
    button.hidden = left <= 0;
    button.textContent = `Show ${number(Math.min(PAGE, left))} more of ${number(left)}`;
    return { items, total };
  }

  button.hidden = true;
  button.onclick = async () => {
    button.disabled = true;
    try {
      const page = await next();
      if (!page) return;
      announce(`${number(shown)} of ${count(page.total, "image")} shown.`);
      page.items[0]?.focus();
    } catch (error) {
      if (!isAbort(error)) onError(error);
    } finally {
      button.disabled = false;
    }
  };
  try {
    return await next();
  } catch (error) {
    if (!isAbort(error)) onError(error);
    return null;
  }
}
