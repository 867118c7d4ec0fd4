/** Loads the source images for "before": only when they are looked at, a few at a time; frees them at the end. */

import * as api from "./api.js";

const AT_ONCE = 3;
const NEARBY = "200px"; // outside the window, so that scrolling finds them there

/** Loads the sources of one request's images; `close` stops it and frees the memory. */
export class Sources {
  #requestId;
  #controller = new AbortController();
  #addresses = new Map(); // image key -> promise of a blob: URL
  #waiting = [];
  #running = 0;
  #whenSeen = new WeakMap(); // element -> what to do
  #observer = new IntersectionObserver((entries) => this.#look(entries), { rootMargin: NEARBY });

  constructor(requestId) {
    this.#requestId = requestId;
  }

  /** Call `action` once when an element comes into sight. */
  onceSeen(target, action) {
    this.#whenSeen.set(target, action);
    this.#observer.observe(target);
  }

  /** Returns the blob: URL of a source image; rejects with an ApiError. */
  address(key) {
    if (!this.#addresses.has(key)) {
      const loading = this.#inTurn(() => api.sourceImage(this.#requestId, key, this.#controller.signal));
      const address = loading.then((blob) => URL.createObjectURL(blob));
      address.catch((error) => error.isPassing && this.#addresses.delete(key));
      this.#addresses.set(key, address);
    }
    return this.#addresses.get(key);
  }

  close() {
    this.#controller.abort();
    this.#observer.disconnect();
    this.#waiting = [];
    for (const address of this.#addresses.values()) address.then(URL.revokeObjectURL, () => {});
  }

  #look(entries) {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      this.#observer.unobserve(target);
      this.#whenSeen.get(target)();
    }
  }

  async #inTurn(load) {
    if (this.#running >= AT_ONCE) await new Promise((go) => this.#waiting.push(go));
    this.#running += 1;
    try {
      return await load();
    } finally {
      this.#running -= 1;
      this.#waiting.shift()?.();
    }
  }
}
