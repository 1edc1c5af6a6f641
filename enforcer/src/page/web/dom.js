// Elements without HTML text: nothing that comes from a cluster is ever parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(3).filter((it) => it !== null && it !== undefined && it !== false));
  return element;
}

/** An element: attributes, "on…" listeners, and children, which are elements or text. */
export function h(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function s(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

/** Replaces the children of an element. */
export function show(element, ...children) {
  element.replaceChildren(...children.flat(3).filter((it) => it !== null && it !== undefined && it !== false));
}

/** Announces a text to screen readers. */
export function announce(text) {
  document.getElementById("live").textContent = text;
}

/** "1 pod", "2 pods". */
export function count(number, word) {
  const plural = /[^aeiou]y$/.test(word) ? `${word.slice(0, -1)}ies` : `${word}s`;
  return `${number.toLocaleString("en")} ${number === 1 ? word : plural}`;
}

/** A message in place of content that is not there, with what to do about it. */
export function empty(title, text, ...more) {
  return h("div", { class: "empty" }, h("h2", null, title), text && h("p", null, text), more);
}

/** An error, in words that its source chose. */
export function failure(error) {
  return h("div", { class: "failure", role: "alert" },
    h("h2", null, "⚠ No answer"),
    h("pre", { tabindex: "0" }, error.message ?? String(error)));
}

/** A button. */
export function button(text, onclick, attributes) {
  return h("button", { type: "button", onclick, ...attributes }, text);
}

/** A button that copies a text. */
export function copier(text, label) {
  const element = button(label, async () => {
    try {
      await navigator.clipboard.writeText(text);
      announce("Copied");
      element.textContent = "Copied";
    } catch {
      element.textContent = "Copying failed";
    }
    setTimeout(() => { element.textContent = label; }, 1500);
  }, { title: text });
  return element;
}

/** A time in the reader's zone; "": none. */
export function time(text) {
  if (!text) return "";
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return String(text);
  return h("time", { datetime: text, title: text }, at.toLocaleString());
}
