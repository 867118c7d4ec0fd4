/** Calls the HTTP API of the gateway. Every failure becomes an ApiError whose message is for people. */

import { askForToken, authorization, currentToken } from "./token.js";

const root = new URL("imagi-process/", document.baseURI);

export class ApiError extends Error {
  constructor(code, message, { status = 0, row = null, column = null, retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { code, status, row, column, retryAfter });
  }

  /** Says whether the same call may be answered later. */
  get isPassing() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

export const isAbort = (error) => error?.name === "AbortError";

// What is asked

export const requestStatus = (id, signal) => json(`check_request_status/${encodeURIComponent(id)}/`, { signal });

export function recentRequests({ cursor = null, limit, file = "", status = "", signal }) {
  const query = new URLSearchParams({ limit });
  if (file) query.set("file", file);
  if (status) query.set("status", status);
  if (cursor) query.set("cursor", cursor);
  return json(`requests/?${query}`, { signal });
}

/** `wanted` are the service's own words: status, kept, text, order. */
export function images(id, { offset = 0, limit, signal, ...wanted }) {
  const given = Object.entries(wanted).filter(([, value]) => value);
  const query = new URLSearchParams({ offset, limit, ...Object.fromEntries(given) });
  return json(`requests/${encodeURIComponent(id)}/images/?${query}`, { signal });
}

export const failures = (id, signal) => json(`requests/${encodeURIComponent(id)}/failures/`, { signal });

/** Returns the source image as a Blob. */
export async function sourceImage(id, key, signal) {
  const response = await answer(`requests/${encodeURIComponent(id)}/images/${encodeURIComponent(key)}/source/`, { signal });
  return whole(() => response.blob());
}

export const cancel = (id, signal) => json(`requests/${encodeURIComponent(id)}/cancel/`, { method: "POST", signal });

export const retry = (id, signal) => json(`requests/${encodeURIComponent(id)}/retry/`, { method: "POST", signal });

/** Returns the address of a file of a request; `what` is its end, such as "result/". */
export const fileAddress = (id, what) => new URL(`requests/${encodeURIComponent(id)}/${what}`, root).href;

/** Returns a file of a request as a Blob, and the name that the service gives it, or null. */
export async function file(id, what) {
  const response = await answer(`requests/${encodeURIComponent(id)}/${what}`);
  return { blob: await whole(() => response.blob()), name: fileName(response.headers.get("Content-Disposition")) };
}

/** Returns what a CSV holds; `choices` are { urlColumns, baseUrl, inPlace, options }. */
export const inspect = (csv, choices, { signal, onProgress }) =>
  post("inspect_csv/", form(csv, choices), {}, signal, onProgress);

/** Hand in a CSV; with the same `idempotencyKey` it becomes one request, however often it is sent. */
export const upload = (csv, choices, { idempotencyKey, signal, onProgress }) =>
  post("upload_csv/", form(csv, choices), { "Idempotency-Key": idempotencyKey }, signal, onProgress);

function form(csv, { urlColumns, baseUrl, inPlace, options }) {
  const data = new FormData();
  for (const column of urlColumns) data.append("url_column", column);
  if (baseUrl) data.append("base_url", baseUrl);
  if (inPlace) data.append("in_place", "true");
  for (const [name, value] of Object.entries(options)) data.append(name, value);
  data.append("file", csv, csv.name);
  return data;
}

// How it is asked

async function json(path, options) {
  const response = await answer(path, { cache: "no-store", ...options });
  return parsed(await whole(() => response.text()));
}

async function answer(path, options = {}) {
  for (;;) {
    const token = currentToken();
    const response = await whole(() => fetch(new URL(path, root), { ...options, headers: authorization() }));
    if (response.status === 401 && (await askForToken(token))) continue;
    if (!response.ok) {
      throw failure(response.status, await whole(() => response.text()), response.headers.get("Retry-After"));
    }
    return response;
  }
}

/** Returns what `read` returns; a connection that breaks is an ApiError like any other. */
async function whole(read) {
  try {
    return await read();
  } catch (error) {
    throw isAbort(error) ? error : lost();
  }
}

/** Sends by XMLHttpRequest, because only that tells how much has been sent. */
async function post(path, body, headers, signal, onProgress) {
  for (;;) {
    const token = currentToken();
    const { status, text, retryAfter } = await sent(path, body, { ...headers, ...authorization() }, signal, onProgress);
    if (status === 401 && (await askForToken(token))) continue;
    if (status < 200 || status > 299) throw failure(status, text, retryAfter);
    return parsed(text);
  }
}

function sent(path, body, headers, signal, onProgress) {
  return new Promise((resolve, reject) => {
    const call = new XMLHttpRequest();
    const abort = () => call.abort();
    const settle = (action) => () => {
      signal?.removeEventListener("abort", abort);
      action();
    };
    call.open("POST", new URL(path, root));
    for (const [name, value] of Object.entries(headers)) call.setRequestHeader(name, value);
    call.upload.onprogress = (event) => onProgress?.(event.lengthComputable ? event.loaded / event.total : null);
    call.onload = settle(() =>
      resolve({ status: call.status, text: call.responseText, retryAfter: call.getResponseHeader("Retry-After") }),
    );
    call.onerror = settle(() => reject(lost()));
    call.onabort = settle(() => reject(new DOMException("stopped", "AbortError")));
    if (signal?.aborted) return reject(new DOMException("stopped", "AbortError"));
    signal?.addEventListener("abort", abort);
    call.send(body);
  });
}

// What comes back

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new ApiError("bad_answer", "The service gave an answer that this page does not understand.", { status: 502 });
  }
}

function failure(status, text, retryAfter) {
  let error = {};
  try {
    error = JSON.parse(text).error ?? {};
  } catch {
    // something between this page and the service answered
  }
  const message = status === 401 ? "This service needs an access token." : error.message; // not the words for programs
  return new ApiError(error.code ?? "http_error", message ?? `The service answered with status ${status}.`, {
    status,
    row: error.row ?? null,
    column: error.column ?? null,
    retryAfter: seconds(retryAfter),
  });
}

function lost() {
  return new ApiError("connection_lost", "The service cannot be reached. Check the connection.");
}

function seconds(retryAfter) {
  if (!retryAfter) return null;
  const value = /^\d+$/.test(retryAfter) ? Number(retryAfter) : (Date.parse(retryAfter) - Date.now()) / 1000;
  return Number.isFinite(value) ? Math.max(0, value) : null;
}

function fileName(disposition) {
  const encoded = /filename\*=utf-8''([^;]+)/i.exec(disposition ?? "");
  if (encoded) return decodeURIComponent(encoded[1]);
  return /filename="([^"]+)"/i.exec(disposition ?? "")?.[1] ?? null;
}
