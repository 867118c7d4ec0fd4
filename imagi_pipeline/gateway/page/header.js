/**
 * Reads the column names of a CSV in the browser, as a suggestion if the service found no image URLs and so says
 * nothing of the columns. The service decides what they are.
 */

const SAMPLE_BYTES = 64 * 1024;
const SAMPLE_RECORDS = 20;
const DELIMITERS = [",", ";", "\t", "|"];

/** Returns the names, or numbers if a name is missing or repeated; the service takes both. */
export async function columnsOf(file) {
  const bytes = new Uint8Array(await file.slice(0, SAMPLE_BYTES).arrayBuffer());
  const text = textOf(bytes);
  const readings = DELIMITERS.map((delimiter) => records(text, delimiter));
  const best = readings.reduce((one, other) => (score(other) > score(one) ? other : one));
  const width = Math.max(0, ...best.map((record) => record.length));
  const header = best.find((record) => filled(record) * 2 > width) ?? best[0] ?? [];
  return header.map((cell, index) => {
    const name = cell.trim();
    return name && header.findIndex((other) => other.trim() === name) === index ? name : String(index + 1);
  });
}

function textOf(bytes) {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return new TextDecoder("utf-16le").decode(bytes);
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return new TextDecoder("utf-16be").decode(bytes);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: true }); // the end may be cut
  } catch {
    return new TextDecoder("windows-1252").decode(bytes);
  }
}

/** Returns the first records, by the rules of quotes. */
function records(text, delimiter) {
  const found = [];
  let record = [];
  let cell = "";
  let quoted = false;
  const endRecord = () => {
    record.push(cell);
    if (record.some((value) => value.trim())) found.push(record);
    [record, cell] = [[], ""];
  };
  for (let index = 0; index < text.length && found.length < SAMPLE_RECORDS; index += 1) {
    const sign = text[index];
    if (quoted) {
      if (sign !== '"') cell += sign;
      else if (text[index + 1] === '"') cell += text[(index += 1)];
      else quoted = false;
    } else if (sign === '"' && !cell.trim()) [quoted, cell] = [true, ""];
    else if (sign === delimiter) {
      record.push(cell);
      cell = "";
    } else if (sign === "\n" || sign === "\r") endRecord();
    else cell += sign;
  }
  if (found.length < SAMPLE_RECORDS) endRecord();
  return found;
}

/** Returns how well a delimiter fits: the number of cells that most records have. */
function score(reading) {
  const widths = reading.map((record) => record.length).sort((one, other) => one - other);
  return widths[Math.floor(widths.length / 2)] ?? 0;
}

const filled = (record) => record.filter((cell) => cell.trim()).length;
