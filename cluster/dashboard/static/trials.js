// The table of all trials: sorted, filtered, a page of it at a time.

import { badge, el, fill, say } from "./dom.js";
import { byId } from "./feed.js";
import { count, number, span, value } from "./format.js";

const PAGE = 50;
const MOST_VALUES = 40; // columns

const BEFORE = [
  { key: "id", name: "Trial", of: (row) => row.id },
  { key: "status", name: "Status", of: (row) => row.status },
  { key: "score", name: "Score", of: (row) => row.score, show: (row) => number(row.score), right: true },
  { key: "so_far", name: "So far", of: (row) => row.so_far, show: (row) => number(row.so_far), right: true },
  { key: "epoch", name: "Epoch", of: (row) => row.epoch, show: (row) => (row.epoch === null ? "–" : row.of === null ? String(row.epoch) : `${row.epoch}/${row.of}`), right: true },
  { key: "best_epoch", name: "Best epoch", of: (row) => row.best_epoch, show: (row) => value(row.best_epoch), right: true },
];
const AFTER = [
  { key: "attempts", name: "Attempts", of: (row) => row.attempts.length, right: true },
  { key: "worker", name: "Worker", of: (row) => row.worker },
  { key: "device", name: "Device", of: (row) => row.device },
  { key: "seconds", name: "Took", of: (row) => row.seconds, show: (row) => span(row.seconds), right: true },
  { key: "reason", name: "Why", of: (row) => row.reason || null },
];

// What was chosen stays while other views are looked at.
const chosen = { sort: "id", down: false, text: "", status: "", page: 0 };

export class Trials {
  #columns = [];
  #lines = new Map();
  #texts = new Map();

  constructor(feed, page) {
    this.feed = feed;
    this.page = page;
    this.search = el("input", { type: "search", id: "filter", value: chosen.text, placeholder: "id, worker, value …", autocomplete: "off", oninput: () => this.#choose({ text: this.search.value, page: 0 }) });
    this.status = el("select", { id: "status", onchange: () => this.#choose({ status: this.status.value, page: 0 }) });
    this.found = el("p", { class: "small", role: "status" });
    this.head_ = el("tr", {});
    this.body = el("tbody", {});
    this.table = el("table", { class: "trials" }, el("caption", { class: "unseen" }, "Trials; the buttons in the header sort"), el("thead", {}, this.head_), this.body);
    this.back = el("button", { type: "button", onclick: () => this.#choose({ page: chosen.page - 1 }) }, "Previous");
    this.on = el("button", { type: "button", onclick: () => this.#choose({ page: chosen.page + 1 }) }, "Next");
    this.where = el("span", {});
    this.node = el("section", { class: "card", "aria-labelledby": "trials-title" },
      el("h2", { id: "trials-title" }, "Trials"),
      el("div", { class: "filters" }, el("label", { for: "filter" }, "Filter"), this.search, el("label", { for: "status" }, "Status"), this.status, this.found),
      el("div", { class: "scroller", role: "group", "aria-label": "Table of trials", tabIndex: 0 }, this.table),
      el("div", { class: "pages", role: "group", "aria-label": "Pages" }, this.back, this.where, this.on));
  }

  close() {}

  head() {}

  change(ids) {
    for (const id of ids ?? []) this.#texts.delete(id);
    this.#draw();
  }

  #choose(what) {
    Object.assign(chosen, what);
    this.#draw();
  }

  #draw() {
    this.#header();
    this.#statuses();
    const rows = this.#rows();
    const last = Math.max(0, Math.ceil(rows.length / PAGE) - 1);
    chosen.page = Math.min(Math.max(0, chosen.page), last);
    const first = chosen.page * PAGE;
    const shown = rows.slice(first, first + PAGE);
    const lines = shown.map((row) => this.#line(row));
    const kept = new Set(shown.map((row) => row.id));
    for (const id of this.#lines.keys()) if (!kept.has(id)) this.#lines.delete(id);
    fill(this.body, lines);
    const all = this.feed.trials.size;
    say(this.found, rows.length === all ? `${count(all)} trials` : `${count(rows.length)} of ${count(all)} trials`);
    say(this.where, rows.length ? `${count(first + 1)}–${count(first + shown.length)} of ${count(rows.length)}` : "none");
    this.back.disabled = chosen.page === 0;
    this.on.disabled = chosen.page === last;
  }

  /** The columns, where the hyperparameters are others than before; and which one sorts. */
  #header() {
    const names = new Set(this.feed.header.space.map((parameter) => parameter.name));
    for (const row of this.feed.trials.values()) {
      if (names.size >= MOST_VALUES) break;
      for (const name of Object.keys(row.values)) names.add(name);
    }
    const numbers = new Set(this.feed.header.space.filter((x) => x.kind === "float" || x.kind === "int").map((x) => x.name));
    const middle = [...names].slice(0, MOST_VALUES).map((name) => ({ key: `value ${name}`, name, of: (row) => row.values[name] ?? null, show: (row) => value(row.values[name]), right: numbers.has(name), own: true }));
    const running = [...this.feed.trials.values()].some((row) => row.status === "running");
    const before = BEFORE.filter((column) => running || column.key !== "so_far");
    const columns = [...before, ...middle, ...AFTER];
    if (columns.map((x) => x.key).join("\n") !== this.#columns.map((x) => x.key).join("\n")) {
      this.#columns = columns;
      this.#lines.clear();
      this.head_.replaceChildren(...columns.map((column) =>
        el("th", { scope: "col", class: [column.right ? "right" : "", column.own ? "own" : ""].join(" ").trim() || undefined },
          el("button", { type: "button", onclick: () => this.#sort(column) }, column.name, el("span", { class: "arrow", "aria-hidden": "true" })))));
    }
    this.#columns.forEach((column, at) => {
      const sorts = column.key === chosen.sort;
      const cell = this.head_.children[at];
      if (sorts) cell.setAttribute("aria-sort", chosen.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
  }

  #sort(column) {
    const best = column.key === "score" || column.key === "so_far";
    const first = best ? this.feed.header.direction === "max" : false; // the best first
    this.#choose({ down: chosen.sort === column.key ? !chosen.down : first, sort: column.key, page: 0 });
  }

  #statuses() {
    const names = ["", ...new Set([...Object.keys(this.feed.header.counts), ...(chosen.status ? [chosen.status] : [])])];
    const key = names.join("\n");
    if (this.statusKey === key) return;
    this.statusKey = key;
    this.status.replaceChildren(...names.map((name) => el("option", { value: name }, name || "all")));
    this.status.value = chosen.status;
  }

  #rows() {
    const words = chosen.text.toLowerCase().split(/\s+/).filter(Boolean);
    let rows = [...this.feed.trials.values()];
    if (chosen.status) rows = rows.filter((row) => row.status === chosen.status);
    if (words.length) rows = rows.filter((row) => words.every((word) => this.#text(row).includes(word)));
    const column = this.#columns.find((one) => one.key === chosen.sort) ?? BEFORE[0];
    const keyed = rows.map((row) => [column.of(row), row]);
    keyed.sort(([a, one], [b, other]) => {
      if (a === null || a === undefined || b === null || b === undefined) {
        const missing = Number(a === null || a === undefined) - Number(b === null || b === undefined);
        return missing || byId(one.id, other.id); // what is missing stands last, whichever way
      }
      const order = typeof a === "number" && typeof b === "number" ? a - b : byId(String(a), String(b));
      return (chosen.down ? -order : order) || byId(one.id, other.id);
    });
    return keyed.map(([, row]) => row);
  }

  #text(row) {
    let text = this.#texts.get(row.id);
    if (text === undefined) {
      const values = Object.entries(row.values).map(([name, given]) => `${name}=${value(given)}`);
      text = [row.id, row.status, row.worker, row.device, row.reason, ...values].join(" ").toLowerCase();
      this.#texts.set(row.id, text);
    }
    return text;
  }

  #line(row) {
    const known = this.#lines.get(row.id);
    if (known?.turn === row.turn) return known.line;
    const line = known?.line ?? el("tr", { onclick: (event) => this.#clicked(event, row.id) });
    const cells = this.#columns.map((column) => {
      if (column.key === "id") return el("th", { scope: "row" }, el("a", { href: this.page.link("trial", row.id) }, row.id));
      if (column.key === "status") return el("td", {}, badge(row.status));
      const given = column.show ? column.show(row) : value(column.of(row));
      return el("td", { class: column.right ? "right" : undefined, title: given.length > 24 ? given : undefined }, given.length > 60 ? `${given.slice(0, 60)}…` : given);
    });
    const focused = line.contains(document.activeElement);
    line.replaceChildren(...cells);
    line.dataset.best = String(row.id === this.feed.header.best);
    if (focused) line.querySelector("a").focus();
    this.#lines.set(row.id, { turn: row.turn, line });
    return line;
  }

  #clicked(event, id) {
    if (event.target.closest("a") || getSelection()?.toString()) return;
    this.page.go("trial", id);
  }
}
