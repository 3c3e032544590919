// Who runs the trials: where, on what, how much of the time, and what was lost.

import { badge, el, fill, say } from "./dom.js";
import { count, percent, span } from "./format.js";

const COLUMNS = ["Worker", "State", "Host", "Device", "Running", "Trials", "Busy", "Here for", "Losses"];

export class Workers {
  constructor(feed, page) {
    this.feed = feed;
    this.page = page;
    this.body = el("tbody", {});
    this.words = el("p", { class: "small" });
    this.node = el("section", { class: "card", "aria-labelledby": "workers-title" },
      el("h2", { id: "workers-title" }, "Workers"), this.words,
      el("div", { class: "scroller", role: "group", "aria-label": "Workers", tabIndex: 0 }, el("table", {}, el("thead", {}, el("tr", {}, COLUMNS.map((name, at) => el("th", { scope: "col", class: at > 4 ? "right" : undefined }, name)))), this.body)));
  }

  close() {}

  change() {
    this.head();
  }

  head() {
    const { workers, utilisation, losses } = this.feed.header;
    say(this.words, workers.length ? `Busy ${percent(utilisation)} of the time that they were here; ${count(losses)} attempts lost.` : "No worker has come yet.");
    fill(this.body, workers.map((worker) => this.#line(worker)));
  }

  #line(worker) {
    const known = [...this.body.children].find((line) => line.dataset.worker === worker.name);
    const line = known ?? el("tr", {}, el("th", { scope: "row" }, worker.name), COLUMNS.slice(1).map((_, at) => el("td", { class: at > 3 ? "right" : undefined })));
    line.dataset.worker = worker.name;
    const state = worker.here === null ? "unknown" : worker.here ? "here" : "gone";
    if (line.dataset.state !== state) line.children[1].replaceChildren(badge(state));
    line.dataset.state = state;
    const busy = worker.seconds_here > 0 ? worker.seconds_busy / worker.seconds_here : null;
    const texts = { 2: worker.host || "–", 3: worker.device ?? "–", 5: count(worker.trials), 6: percent(busy), 7: span(Math.round(worker.seconds_here)), 8: count(worker.losses) };
    for (const [at, text] of Object.entries(texts)) say(line.children[at], text);
    const running = worker.running.join("\n");
    if (line.dataset.running !== running) {
      const links = worker.running.flatMap((id, at) => [at ? ", " : "", el("a", { href: this.page.link("trial", id) }, id)]);
      line.children[4].replaceChildren(...(links.length ? links : ["–"]));
    }
    line.dataset.running = running;
    return line;
  }
}
