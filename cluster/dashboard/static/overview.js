// The first view: how far the search is, the best so far, what runs, and the history.

import { badge, el, fill, pairs, say } from "./dom.js";
import { byId } from "./feed.js";
import { count, moment, number, percent, span, trials as ofTrials, value } from "./format.js";
import { Plot } from "./plots.js";

const STATUSES = ["completed", "pruned", "running", "waiting", "failed"];
const WORDS = { waiting: "waiting to run again", pruned: "stopped early" };
const MOST_RUNNING = 16;

export class Overview {
  constructor(feed, page) {
    this.feed = feed;
    this.page = page;
    this.plot = new Plot(feed, "history", { label: "The score of each trial", describe: () => this.#history(), empty: "No trial has ended yet." });
    this.plot.onTrial = (id) => page.go("trial", id);
    this.total = el("p", { class: "large" });
    this.bar = el("div", { class: "bar", role: "progressbar", "aria-label": "Trials that have ended", "aria-valuemin": "0" });
    this.legend = el("ul", { class: "legend" });
    this.best = el("div", {});
    this.bestKey = "";
    this.cards = new Map(["Time", "Throughput", "Workers busy", "Losses"].map((name) => [name, [el("p", { class: "figure" }), el("p", { class: "small" })]]));
    this.running = el("tbody", {});
    this.runningCard = el("section", { class: "card", "aria-labelledby": "running-title" },
      el("h2", { id: "running-title" }, "Running now"),
      el("div", { class: "scroller" }, el("table", {}, el("thead", {}, el("tr", {}, ["Trial", "Worker", "Device", "Epoch", "So far", "For"].map((name) => el("th", { scope: "col" }, name)))), this.running)));
    this.about = el("div", {});
    this.node = el("div", { class: "grid" },
      el("section", { class: "card wide", "aria-labelledby": "progress-title" }, el("h2", { id: "progress-title" }, "Progress"), this.total, this.bar, this.legend),
      el("section", { class: "card best", "aria-labelledby": "best-title" }, el("h2", { id: "best-title" }, "Best trial"), this.best),
      el("div", { class: "cards" }, [...this.cards].map(([name, parts]) => el("section", { class: "card", "aria-label": name }, el("h2", {}, name), parts))),
      el("section", { class: "card full", "aria-labelledby": "history-title" }, el("h2", { id: "history-title" }, "History"), this.plot.node),
      this.runningCard,
      el("section", { class: "card", "aria-labelledby": "about-title" }, el("h2", { id: "about-title" }, "This search"), this.about));
  }

  close() {
    this.plot.close();
  }

  change() {
    this.head();
    this.#bestTrial();
    this.#about();
    this.plot.refresh();
  }

  head() {
    this.#progress();
    this.#cards();
    this.#running();
  }

  #progress() {
    const { counts, trials, max_trials: most } = this.feed.header;
    const ended = (counts.completed ?? 0) + (counts.pruned ?? 0) + (counts.failed ?? 0);
    const whole = Math.max(most ?? 0, trials);
    say(this.total, most === null ? `${ofTrials(ended)} ended` : `${count(ended)} of ${ofTrials(whole)}`);
    this.bar.setAttribute("aria-valuemax", String(Math.max(1, whole)));
    this.bar.setAttribute("aria-valuenow", String(ended));
    const names = [...STATUSES, ...Object.keys(counts).filter((name) => !STATUSES.includes(name))].filter((name) => counts[name]);
    const parts = names.filter((name) => name !== "waiting").map((name) => {
      const part = el("span", { "data-status": name });
      part.style.width = `${(100 * counts[name]) / Math.max(1, whole)}%`;
      return part;
    });
    this.bar.replaceChildren(...parts);
    this.legend.replaceChildren(...names.map((name) => el("li", {}, badge(name, `${count(counts[name])} ${WORDS[name] ?? name}`))));
  }

  #cards() {
    const header = this.feed.header;
    const until = this.feed.until();
    const since = header.resumed ?? header.began;
    const gone = since === null ? null : until - since;
    const over = ["ended", "failed", "stopped"].includes(header.state);
    const left = header.seconds_left === null ? null : Math.max(0, header.seconds_left - (this.feed.now() - header.now));
    this.#card("Time", over || left === null ? span(gone) : `${span(left)} left`, over ? "from begin to end" : `running for ${span(gone)}`);
    this.#card("Throughput", header.trials_per_hour === null ? "–" : `${number(Number(header.trials_per_hour.toPrecision(3)))} / h`, "trials that ended");
    const here = header.workers.filter((worker) => worker.here !== false).length;
    const all = header.workers.length;
    this.#card("Workers busy", percent(header.utilisation), over ? `${all} ${all === 1 ? "worker" : "workers"}` : `${here} of ${all} here`);
    this.#card("Losses", count(header.losses), "attempts that lost their worker");
  }

  #card(name, figure, words) {
    const [large, small] = this.cards.get(name);
    say(large, figure);
    say(small, words);
  }

  #bestTrial() {
    const { best, objective, direction } = this.feed.header;
    const row = best === null ? undefined : this.feed.trials.get(best);
    const key = JSON.stringify([best, row?.score, objective]);
    if (key === this.bestKey) return;
    this.bestKey = key;
    if (row === undefined) {
      this.best.replaceChildren(el("p", { class: "empty" }, "No trial has been completed yet."));
      return;
    }
    this.best.replaceChildren(
      el("p", { class: "large" }, number(row.score)),
      el("p", { class: "small" }, `${objective} (${direction === "max" ? "more" : "less"} is better), `, el("a", { href: this.page.link("trial", best) }, `trial ${best}`)),
      pairs(Object.entries(row.values).map(([name, given]) => [name, value(given)])));
  }

  #running() {
    const rows = [...this.feed.trials.values()].filter((row) => row.status === "running").sort((a, b) => byId(a.id, b.id));
    this.runningCard.hidden = rows.length === 0;
    const now = this.feed.now();
    fill(this.running, rows.slice(0, MOST_RUNNING).map((row) => {
      const known = [...this.running.children].find((line) => line.dataset.trial === row.id);
      const line = known ?? el("tr", {}, el("th", { scope: "row" }, el("a", { href: this.page.link("trial", row.id) }, row.id)), Array.from({ length: 5 }, () => el("td", {})));
      line.dataset.trial = row.id;
      const began = row.attempts.at(-1)?.began;
      const cells = [row.worker ?? "–", row.device ?? "–", row.epoch === null ? "–" : row.of === null ? String(row.epoch) : `${row.epoch} of ${row.of}`, number(row.so_far), began === undefined ? "–" : span(Math.round(now - began))];
      cells.forEach((text, at) => say(line.children[at + 1], text));
      return line;
    }));
  }

  #about() {
    const header = this.feed.header;
    const entries = [["Program", header.program], ["Oracle", header.oracle], ["Objective", header.objective && `${header.objective} (${header.direction})`], ["Runs as", header.role], ["Directory", header.directory], ["Began", header.began && moment(header.began)], ["Last event", header.last_event && moment(header.last_event)]];
    const shown = entries.filter(([, text]) => text);
    const key = JSON.stringify(shown);
    if (this.aboutKey !== key) this.about.replaceChildren(pairs(shown));
    this.aboutKey = key;
  }

  #history() {
    const { header, trials } = this.feed;
    const scores = [...trials.values()].filter((row) => ["completed", "pruned"].includes(row.status) && row.score !== null).map((row) => row.score);
    if (!scores.length) return "";
    const best = header.best === null ? "" : `; the best, ${number(trials.get(header.best)?.score)}, is of trial ${header.best}`;
    return `${header.objective ?? "Score"} of ${ofTrials(scores.length)}, from ${number(Math.min(...scores))} to ${number(Math.max(...scores))}${best}.`;
  }
}
