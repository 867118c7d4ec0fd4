/** Asks again and again without being a burden: slower out of sight, later after each failure. */

import { isAbort } from "./api.js";
import { pause } from "./dom.js";

const HIDDEN_PAUSE = 10_000;
const FIRST_BACKOFF = 1000;
const LONGEST_BACKOFF = 30_000;

/**
 * Call `ask` until `onAnswer` returns null (end) instead of the milliseconds to the next call, or the signal aborts.
 * `onTrouble(error, milliseconds)` hears of failures that may pass, `onTrouble(null)` when they have; any other
 * failure ends it and is thrown.
 */
export async function poll({ ask, onAnswer, onTrouble, signal }) {
  let failures = 0;
  while (!signal.aborted) {
    let wait;
    try {
      const answer = await ask(signal);
      if (signal.aborted) return;
      if (failures) onTrouble(null);
      failures = 0;
      wait = onAnswer(answer);
      if (wait === null) return;
      if (document.hidden) wait = Math.max(wait, HIDDEN_PAUSE);
    } catch (error) {
      if (isAbort(error)) return;
      if (!error.isPassing) throw error;
      wait = Math.min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** failures);
      wait = Math.max(wait, (error.retryAfter ?? 0) * 1000);
      failures += 1;
      onTrouble(error, wait);
    }
    await pause(wait, signal, [[document, "visibilitychange"], [window, "online"], [window, "try-now"]]).catch(() => {});
  }
}
