/** Has the helpers that every module needs to read and fill the page. What comes from outside is always text. */

export const $ = (id) => document.getElementById(id);

/** Makes an element with attributes and children; a child that is a string becomes text, null is left out. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** Copies what a <template> holds. */
export function copyOf(templateId) {
  return $(templateId).content.firstElementChild.cloneNode(true);
}

/** Show a text in an element, or hide the element when there is none. */
export function showText(target, text) {
  target.textContent = text ?? "";
  target.hidden = !text;
}

/** Show a text with a button that offers to do something about it. */
export function showOffer(target, text, label, action) {
  const button = element("button", { type: "button", class: "quiet" }, label);
  button.addEventListener("click", action);
  target.replaceChildren(element("span", {}, text), button);
  target.hidden = false;
}

/** Show terms and values in a <dl>; a value of null is left out. */
export function showFigures(list, figures) {
  list.replaceChildren(
    ...figures
      .filter(([, value]) => value !== null)
      .map(([term, value]) => element("div", {}, element("dt", {}, term), element("dd", {}, value))),
  );
}

/** Tell a screen reader, once, when it has finished what it is saying. */
export function announce(text) {
  if ($("live").textContent === text) text += "\u00a0"; // the same text twice would not be read again
  $("live").textContent = text;
}

/** Move the focus to what people should read next. */
export function focusOn(target, options = {}) {
  target.focus({ focusVisible: false, ...options });
}

/** Wait; sooner when a `wake` target fires its event. Rejects when the signal aborts. */
export function pause(milliseconds, signal, wake = []) {
  return new Promise((resolve, reject) => {
    const done = () => {
      clearTimeout(timer);
      for (const [target, name] of wake) target.removeEventListener(name, done);
      signal?.removeEventListener("abort", done);
      signal?.aborted ? reject(signal.reason) : resolve();
    };
    const timer = setTimeout(done, milliseconds);
    for (const [target, name] of wake) target.addEventListener(name, done);
    signal?.addEventListener("abort", done);
    if (signal?.aborted) done();
  });
}

const TYPING_PAUSE = 300; // milliseconds

/** Calls `action` when what a form searches for has changed. */
export function onSearch(form, action) {
  let timer = 0;
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(action, TYPING_PAUSE);
  };
  form.addEventListener("input", soon);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    soon();
  });
}

/** Says whether a text may be the target of a link. */
export function isWebAddress(text) {
  return /^https?:\/\//i.test(text ?? "");
}
