// A trial's own page: hyperparameters, curve, attempts, what happened, what it printed, and why it failed.

import { badge, el, pairs, say } from "./dom.js";
import { byId, get } from "./feed.js";
import { clock, moment, number, span, value } from "./format.js";
import { Plot } from "./plots.js";

const PAUSE = 1000; // ms between two questions

export class TrialView {
  #busy = false;
  #again = false;
  #gone = false;
  #turn = -1;
  #timer = 0;

  constructor(feed, page, id) {
    this.feed = feed;
    this.page = page;
    this.id = id;
    this.before = el("a", { class: "button" }, "Previous");
    this.after = el("a", { class: "button" }, "Next");
    this.state = el("span", {});
    this.facts = el("div", {});
    this.values = el("div", {});
    this.plot = new Plot(feed, null, { label: `The epochs of trial ${id}`, wide: 520, describe: () => this.#words(), empty: "No epoch has been reported." });
    this.attempts = el("tbody", {});
    this.message = el("pre", { class: "log", tabIndex: 0, "aria-labelledby": "message-title" });
    this.messageCard = el("section", { class: "card full", hidden: true }, el("h2", { id: "message-title" }, "Message"), this.message);
    this.output = el("pre", { class: "log", tabIndex: 0, "aria-labelledby": "output-title" });
    this.outputCard = el("section", { class: "card full", hidden: true }, el("h2", { id: "output-title" }, "Output"), this.output);
    this.story = el("pre", { class: "log", tabIndex: 0, "aria-labelledby": "story-title" });
    this.missing = el("p", { class: "empty", hidden: true }, "There is no such trial in this search.");
    const columns = ["Attempt", "Outcome", "Worker", "Device", "Began", "Took", "Reason"];
    this.parts = el("div", { class: "grid" },
      el("section", { class: "card", "aria-labelledby": "values-title" }, el("h2", { id: "values-title" }, "Hyperparameters"), this.values),
      el("section", { class: "card", "aria-labelledby": "facts-title" }, el("h2", { id: "facts-title" }, "Result"), this.facts),
      this.messageCard,
      el("section", { class: "card full", "aria-labelledby": "curve-title" }, el("h2", { id: "curve-title" }, "Epochs"), this.plot.node),
      el("section", { class: "card full", "aria-labelledby": "attempts-title" }, el("h2", { id: "attempts-title" }, "Attempts"),
        el("div", { class: "scroller", role: "group", "aria-label": "Attempts", tabIndex: 0 }, el("table", {}, el("thead", {}, el("tr", {}, columns.map((name) => el("th", { scope: "col" }, name)))), this.attempts))),
      el("section", { class: "card full", "aria-labelledby": "story-title" }, el("h2", { id: "story-title" }, "What happened"), this.story),
      this.outputCard);
    this.node = el("div", {},
      el("div", { class: "crumbs" }, el("h2", { class: "title" }, `Trial ${id}`), this.state, el("span", { class: "push" }), this.before, this.after, el("a", { class: "button", href: page.link("trials") }, "All trials")),
      this.missing, this.parts);
  }

  close() {
    this.#gone = true;
    clearTimeout(this.#timer);
    this.plot.close();
  }

  head() {}

  change() {
    const row = this.feed.trials.get(this.id);
    this.missing.hidden = row !== undefined;
    this.parts.hidden = row === undefined;
    this.#neighbours();
    if (row === undefined || row.turn === this.#turn) return;
    this.#turn = row.turn;
    this.state.replaceChildren(badge(row.status));
    this.values.replaceChildren(pairs(Object.entries(row.values).map(([name, given]) => [name, value(given)])));
    const { objective, best } = this.feed.header;
    this.facts.replaceChildren(pairs([
      [objective ?? "Score", row.score === null ? "–" : `${number(row.score)}${row.id === best ? " (the best)" : ""}`],
      ["Best epoch", value(row.best_epoch)],
      ...(row.so_far === null ? [] : [["So far", number(row.so_far)]]),
      ["Epoch", row.epoch === null ? "–" : row.of === null ? String(row.epoch) : `${row.epoch} of ${row.of}`],
      ["Took", span(row.seconds)],
      ...(row.reason ? [["Why", row.reason]] : []),
    ]));
    this.attempts.replaceChildren(...row.attempts.map((attempt) => el("tr", {},
      el("th", { scope: "row" }, String(attempt.number)),
      el("td", {}, badge(attempt.outcome)),
      el("td", {}, attempt.worker),
      el("td", {}, attempt.device ?? "–"),
      el("td", {}, moment(attempt.began)),
      el("td", {}, attempt.ended === null ? "–" : span(attempt.ended - attempt.began)),
      el("td", { class: "long" }, attempt.reason || "–"))));
    this.#ask();
  }

  #neighbours() {
    const ids = [...this.feed.trials.keys()].sort(byId);
    const at = ids.indexOf(this.id);
    for (const [link, id] of [[this.before, ids[at - 1]], [this.after, at < 0 ? undefined : ids[at + 1]]]) {
      if (id === undefined) link.removeAttribute("href");
      else link.href = this.page.link("trial", id);
    }
  }

  async #ask() {
    if (this.#busy) {
      this.#again = true;
      return;
    }
    this.#busy = true;
    this.#again = false;
    try {
      const found = await get(`api/searches/${encodeURIComponent(this.feed.search)}/trials/${encodeURIComponent(this.id)}`);
      if (this.#gone) return;
      this.detail = found;
      this.messageCard.hidden = !found.message;
      say(this.message, found.message);
      this.outputCard.hidden = !found.output;
      keepEnd(this.output, found.output);
      keepEnd(this.story, found.story.map(({ time, text }) => `${clock(time)}  ${text}`).join("\n"));
      await this.plot.draw(found.curve);
    } catch (error) {
      if (!this.#gone) say(this.story, `It cannot be read: ${error.message}`);
    } finally {
      this.#timer = setTimeout(() => {
        this.#busy = false;
        if (this.#again && !this.#gone) this.#ask();
      }, PAUSE);
    }
  }

  #words() {
    const row = this.feed.trials.get(this.id);
    if (!row) return "";
    return `Metrics after each epoch, ${row.epoch ?? 0} so far${row.best_epoch === null ? "" : `; the best is epoch ${row.best_epoch}`}. The lines under “What happened” have the numbers.`;
  }
}

/** Sets a log's text; who reads its end goes on reading its end. */
function keepEnd(node, text) {
  const atEnd = node.scrollTop + node.clientHeight >= node.scrollHeight - 4;
  say(node, text);
  if (atEnd) node.scrollTop = node.scrollHeight;
}
