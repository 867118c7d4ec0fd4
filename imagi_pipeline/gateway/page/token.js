/** Keeps the access token: the page asks for it when the service refuses, and keeps it for this tab only. */

import { $, showText } from "./dom.js";

const PLACE = "imagi-token";
let question = null; // the promise of the dialog that is open
let kept = null; // where sessionStorage is forbidden

export function currentToken() {
  try {
    return sessionStorage.getItem(PLACE) ?? kept;
  } catch {
    return kept;
  }
}

/** Returns the header with the token, if there is one. */
export function authorization() {
  const token = currentToken();
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/**
 * Ask for a token because `refused` (null: none) was not accepted. True when there is another one now, false when
 * the question was dismissed. Several calls at the same time ask once.
 */
export async function askForToken(refused) {
  if (currentToken() !== refused) return true;
  question ??= openDialog(refused !== null).finally(() => (question = null));
  return question;
}

function openDialog(wasRefused) {
  const dialog = $("token");
  const field = $("token-value");
  field.value = "";
  showText($("token-wrong"), wasRefused ? "This token is not accepted. Is it complete?" : "");
  const before = document.activeElement;
  dialog.showModal();
  field.focus();
  return new Promise((resolve) => {
    const settle = (answer) => {
      controller.abort();
      if (dialog.open) dialog.close();
      if (before?.isConnected) before.focus();
      resolve(answer);
    };
    const controller = new AbortController();
    const { signal } = controller;
    $("token-form").addEventListener("submit", (event) => accept(event, settle), { signal });
    $("token-cancel").addEventListener("click", () => settle(false), { signal });
    dialog.addEventListener("close", () => settle(false), { signal });
  });
}

function accept(event, settle) {
  event.preventDefault();
  const token = $("token-value").value.trim();
  if (!/^[\x21-\x7e]+$/.test(token)) { // what a header can carry
    showText($("token-wrong"), token ? "A token has only letters, digits and signs, no spaces." : "Enter the token.");
    $("token-value").focus();
    return;
  }
  kept = token;
  try {
    sessionStorage.setItem(PLACE, token);
  } catch {
    // kept in memory, then
  }
  settle(true);
}
