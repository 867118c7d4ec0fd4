/** Fetches a list one page at a time, when its end comes into sight: nobody wants 100,000 rows at once. */

import { isAbort } from "./api.js";
import { announce } from "./dom.js";
import { count, number } from "./format.js";

const PAGE = 48;
const NEARBY = "600px"; // below the window

/**
 * Fill `list` by `load(offset, limit)`, which gives { total, images }, and `render(image)`, which gives an element;
 * `button` fetches the next page. Failures go to `onError(error)`.
 */
export async function openPages({ list, button, load, render, onError, signal }) {
  let shown = 0;
  list.replaceChildren();
  // The button is for those who have no scrolling, and for what a scroll failed to fetch.
  const observer = new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && !button.disabled && more(false), {
    rootMargin: NEARBY,
  });
  signal.addEventListener("abort", () => observer.disconnect());

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
  button.onclick = () => more(true);

  async function more(isAsked) {
    if (signal.aborted) return;
    button.disabled = true;
    try {
      const page = await next();
      if (!page) return;
      if (isAsked) {
        announce(`${number(shown)} of ${count(page.total, "image")} shown.`);
        page.items[0]?.focus();
      }
    } catch (error) {
      observer.disconnect();
      if (!isAbort(error)) onError(error);
    } finally {
      button.disabled = false;
    }
    watch();
  }

  /** Looks again at the end of the list: one that stays in sight is told only once. */
  function watch() {
    observer.unobserve(button);
    if (!button.hidden) observer.observe(button);
  }

  try {
    const first = await next();
    watch();
    return first;
  } catch (error) {
    if (!isAbort(error)) onError(error);
    return null;
  }
}
