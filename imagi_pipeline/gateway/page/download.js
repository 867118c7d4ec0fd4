/** Downloads files: by plain links, or by fetch if there is an access token, which a link cannot carry. */

import * as api from "./api.js";
import { currentToken } from "./token.js";

const FREE_AFTER = 60_000; // milliseconds in which the browser has surely taken the data

/** Make `link` download a file of a request; `onError(error)` hears of failures. */
export function offerDownload(link, id, what, onError) {
  link.href = api.fileAddress(id, what);
  link.download = "";
  link.onclick = (event) => {
    if (!currentToken()) return;
    event.preventDefault();
    fetchFile(id, what).catch(onError);
  };
}

async function fetchFile(id, what) {
  const { blob, name } = await api.file(id, what);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name ?? what.replace("/", "");
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), FREE_AFTER);
}
