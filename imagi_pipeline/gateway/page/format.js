/** Writes numbers, sizes and times as people of the browser's language do. */

const whole = new Intl.NumberFormat();
const percentage = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 0 });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const sizes = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"].map((unit) =>
  new Intl.NumberFormat(undefined, {
    style: "unit",
    unit,
    unitDisplay: unit === "byte" ? "long" : "short",
    maximumSignificantDigits: unit === "byte" ? undefined : 3,
    maximumFractionDigits: unit === "byte" ? 0 : undefined,
  }),
);

export const number = (value) => whole.format(value);

/** Writes "1 image", "1,200 images". */
export const count = (value, one, many = `${one}s`) => `${number(value)} ${value === 1 ? one : many}`;

export const percent = (fraction) => percentage.format(fraction);

/** Writes a size in bytes, in a unit that keeps it short: "340 kB". */
export function size(bytes) {
  let power = 0;
  while (power < sizes.length - 1 && bytes >= 999.5 * 1000 ** power) power += 1;
  return sizes[power].format(bytes / 1000 ** power);
}

/** Returns how much smaller something became, as a fraction from below 0 (larger) to 1; null if unknown. */
export function saving(before, after) {
  return before > 0 && after !== null ? 1 - after / before : null;
}

/** Writes "72% smaller", "as large as before", "3% larger". */
export function savingText(before, after) {
  const fraction = saving(before, after);
  if (fraction === null) return "";
  if (Math.abs(fraction) < 0.005) return "as large as before";
  return fraction > 0 ? `${percent(fraction)} smaller` : `${percent(-fraction)} larger`;
}

export const dateTime = (iso) => moment.format(new Date(iso));

/** Writes a time in the past in words: "3 minutes ago"; as a date when it is more than a day ago. */
export function ago(iso) {
  const seconds = Math.min(0, Math.round((new Date(iso) - Date.now()) / 1000));
  if (seconds > -45) return "just now";
  if (seconds > -3600) return relative.format(Math.round(seconds / 60), "minute");
  if (seconds > -86_400) return relative.format(Math.round(seconds / 3600), "hour");
  return dateTime(iso);
}

/** Writes a duration, rounded: "2 min 5 s". */
export function duration(seconds) {
  const rounded = Math.max(1, Math.round(seconds));
  if (rounded < 60) return `${rounded} s`;
  if (rounded < 3600) return `${Math.floor(rounded / 60)} min ${rounded % 60} s`;
  return `${number(Math.floor(rounded / 3600))} h ${Math.floor((rounded % 3600) / 60)} min`;
}

/** Returns the last part of a URL's path, readable: "shoe red.jpg". */
export function nameOf(url) {
  try {
    const parsed = new URL(url);
    const last = parsed.pathname.replace(/\/+$/, "").split("/").pop();
    return decoded(last) || parsed.host;
  } catch {
    return url;
  }
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
