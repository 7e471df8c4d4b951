// The DOM, by text nodes only: nothing that came over the network becomes markup.

import { visible } from "./text.js";

export const $ = (id) => document.getElementById(id);

/** Every string that is shown goes through here, whoever wrote it. */
export function text(s) {
  return document.createTextNode(visible(String(s)));
}

/** Line ends are ours; those of strangers are spelled out by `text`. */
export function newline() {
  return document.createTextNode("\n");
}

export function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) {
      node.setAttribute(name, visible(String(value)));
    }
  }
  for (const child of children) {
    if (child === null || child === undefined) continue;
    node.append(child instanceof Node ? child : text(child));
  }
  return node;
}

export function svg(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

export function button(key, name, run, attributes = {}) {
  const node = el("button", { type: "button", ...attributes }, el("kbd", {}, key), ` ${name}`);
  node.addEventListener("click", run);
  return node;
}

/** Sets a node's text and class where they differ: most cells of a row do not change. */
export function set(node, s, className) {
  const shown = visible(String(s));
  if (node.textContent !== shown) node.textContent = shown;
  if (className !== undefined && node.className !== className) node.className = className;
}
