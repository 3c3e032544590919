// Elements from plain values. Text is always text: nothing here reads markup.

/** Makes an element. Names with a dash or `role` are attributes, `on…` are listeners, all else are properties. */
export function el(tag, about = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(about)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = value;
    else if (name.includes("-") || name === "role" || name === "scope" || name === "for") node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

/** Sets an element's text, where it is another one: what is selected or read aloud stays. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Puts these children in the place of those that are there, and leaves alone those that stay. */
export function fill(node, children) {
  children.forEach((child, at) => {
    if (node.children[at] !== child) node.insertBefore(child, node.children[at] ?? null);
  });
  while (node.children.length > children.length) node.lastElementChild.remove();
}

/** A list of names and values. */
export function pairs(entries) {
  return el("dl", { class: "pairs" }, entries.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

/** A word for a status, with a mark that does not need colours. */
export function badge(status, text = status) {
  return el("span", { class: "badge", "data-status": status }, text);
}
