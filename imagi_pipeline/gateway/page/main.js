/** Shows what the address says: `#/` is the start, `#/requests/<id>` a request. */

import { $, focusOn } from "./dom.js";
import { startImages } from "./images.js";
import { closeList, openList, startList } from "./list.js";
import { closeRequest, openRequest, startRequest } from "./request.js";
import { startUpload } from "./upload.js";

const REQUEST = /^#\/requests\/([^/]+)\/?$/;

function showAddress({ isFirst = false } = {}) {
  const id = REQUEST.exec(location.hash)?.[1] ?? null;
  closeList();
  closeRequest();
  $("home").hidden = id !== null;
  $("request").hidden = id === null;
  $("to-home").hidden = id === null;
  if (id) openRequest(id);
  else {
    setTitle("Smaller images");
    openList();
  }
  if (isFirst) return; // the browser has its own idea of where to begin
  window.scrollTo(0, 0);
  focusOn($(id ? "request-title" : "home-title"));
}

function setTitle(text) {
  const title = `${text} · imagi`;
  if (document.title !== title) document.title = title;
}

function goTo(address) {
  if (location.hash !== address) location.hash = address; // hashchange does the rest
}

startUpload({
  onAccepted: (id) => goTo(`#/requests/${id}`),
  onTaken: () => {
    if (!$("home").hidden) return;
    history.pushState(null, "", "#/");
    showAddress();
  },
});
startList();
startImages();
startRequest({ setTitle });
window.addEventListener("hashchange", () => showAddress());
showAddress({ isFirst: true });
