// The views that are one plot each, with what it shows in words.

import { el, say } from "./dom.js";
import { trials as ofTrials } from "./format.js";
import { Plot } from "./plots.js";

const scored = ({ header: { counts } }) => (counts.completed ?? 0) + (counts.pruned ?? 0);

const VIEWS = {
  parallel: {
    title: "Parallel coordinates",
    lead: "A line for each completed trial, through its hyperparameters to its score. Drag along an axis to pick out lines; drag a name to move its axis.",
    wide: 760,
    empty: "No trial has been completed yet.",
    words: (feed) => `${ofTrials(scored(feed))}; the same values are in the table of trials.`,
  },
  importance: {
    title: "Importance",
    lead: "How much of the score's variation each hyperparameter accounts for.",
    empty: "Too few trials have been completed to tell.",
    words: (_, figure) => {
      const bar = figure.data[0];
      const names = figure.layout.yaxis?.ticktext ?? [];
      const said = (bar?.text ?? []).map((share, at) => `${plain(names[at])} ${share}`).reverse();
      return `${said.slice(0, 8).join(", ")}.`;
    },
  },
  slices: {
    title: "Slices",
    lead: "Each hyperparameter on its own against the score; the star is the best trial.",
    wide: 720,
    empty: "No trial has been completed yet.",
    words: (feed) => `${ofTrials(scored(feed))}; the same values are in the table of trials.`,
  },
  curves: {
    title: "Curves",
    lead: "The objective after each epoch, of the best and the newest trials.",
    empty: "No epoch has been reported yet.",
    words: () => "A trial's own page has all its metrics.",
  },
  timeline: {
    title: "Timeline",
    lead: "Who ran which trial, and how it ended.",
    wide: 560,
    empty: "No trial has begun yet.",
    words: (feed) => `${feed.header.workers.length} workers; ${feed.header.losses} attempts were lost. A trial's own page lists its attempts.`,
  },
};

/** Whether the browser draws by WebGL, as parallel coordinates need; on hosts without a GPU some do not. */
function webgl() {
  const canvas = document.createElement("canvas");
  return Boolean(canvas.getContext("webgl2") ?? canvas.getContext("webgl"));
}

/** Escaped text as it was. */
function plain(text) {
  return new DOMParser().parseFromString(String(text ?? ""), "text/html").documentElement.textContent;
}

export const names = Object.keys(VIEWS);

export class FigureView {
  constructor(feed, page, name) {
    const { title, lead, wide = 0, empty, words } = VIEWS[name];
    this.plot = new Plot(feed, name, { label: title, wide, empty, describe: (figure) => words(feed, figure) });
    this.plot.onTrial = (id) => page.go("trial", id);
    this.able = name !== "parallel" || webgl();
    if (!this.able) say(this.plot.words, "This plot needs WebGL, which this browser does not offer here. The table of trials has the same values.");
    this.node = el("section", { class: "card", "aria-labelledby": "figure-title" }, el("h2", { id: "figure-title" }, title), el("p", { class: "small" }, lead), this.plot.node);
  }

  close() {
    this.plot.close();
  }

  change() {
    if (this.able) this.plot.refresh();
  }

  head() {}
}

export function title(name) {
  return VIEWS[name].title;
}
