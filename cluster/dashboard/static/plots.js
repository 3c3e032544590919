// Plots: plotly.js is loaded when the first one is seen, and a figure is asked for again as the search goes on.

import { el, say } from "./dom.js";
import { get } from "./feed.js";

const SETTINGS = {
  displaylogo: false,
  responsive: true,
  modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d", "sendDataToCloud", "sendChartToCloud"],
  toImageButtonOptions: { filename: "search", scale: 2 },
};
// The figures' colours are chosen for white; on a dark page each is a lighter one of its hue.
const ON_DARK = { "#1b7fc4": "#56acea", "#d55e00": "#f08a4b", "#009e73": "#3cc49b", "#c98a00": "#e0ae45", "#b8689a": "#d893bd", "#3a9bd9": "#7cc1f2", "#808080": "#9aa5b5" };
let loading = null;

function load(version) {
  loading ??= new Promise((resolve, reject) => {
    const script = el("script", { src: `static/plotly.min.js?v=${encodeURIComponent(version)}`, async: true });
    script.addEventListener("load", () => resolve(window.Plotly));
    script.addEventListener("error", () => {
      loading = null;
      script.remove();
      reject(new Error("plotly.js cannot be loaded"));
    });
    document.head.append(script);
  });
  return loading;
}

/**
 * A figure with its text. `name` is one of the server's, or `null` where figures are handed to `draw`.
 * `describe(figure)` says in words what is to be seen.
 */
export class Plot {
  #feed;
  #name;
  #describe;
  #figure = null;
  #timer = 0;
  #busy = false;
  #again = false;
  #gone = false;
  #drawn = null;

  constructor(feed, name, { label, wide = 0, describe = () => "", empty = "There is too little to show as yet." }) {
    this.#feed = feed;
    this.#name = name;
    this.#describe = describe;
    this.empty = empty;
    this.canvas = el("div", { class: "canvas" });
    if (wide) this.canvas.style.minWidth = `${wide}px`;
    this.words = el("p", { class: "empty" }, "Drawing …");
    this.caption = el("figcaption", {});
    this.scroller = el("div", { class: "scroller", role: "group", "aria-label": label, tabIndex: wide ? 0 : -1 }, this.canvas);
    this.node = el("figure", { class: "plot", "aria-busy": "true" }, this.words, this.scroller, this.caption);
    this.scroller.hidden = true;
    this.onTheme = () => this.#show();
    this.onSeen = () => document.hidden || this.refresh();
    document.addEventListener("theme", this.onTheme);
    document.addEventListener("visibilitychange", this.onSeen);
  }

  close() {
    this.#gone = true;
    clearTimeout(this.#timer);
    document.removeEventListener("theme", this.onTheme);
    document.removeEventListener("visibilitychange", this.onSeen);
    if (this.#drawn) window.Plotly.purge(this.canvas);
  }

  /** Asks for the figure, unless the one that is here is of the newest version. */
  async refresh() {
    if (this.#gone || document.hidden || this.#feed.search === null) return;
    if (this.#busy) {
      this.#again = true;
      return;
    }
    this.#busy = true;
    this.#again = false;
    clearTimeout(this.#timer);
    try {
      const search = this.#feed.search;
      const answer = await get(`api/searches/${encodeURIComponent(search)}/figures/${this.#name}`);
      if (this.#gone || search !== this.#feed.search) return;
      await this.draw(answer.figure);
      if (answer.version < this.#feed.version || this.#again) {
        this.#timer = setTimeout(() => this.refresh(), 1000 * Math.max(1, answer.again));
      }
    } catch (error) {
      if (this.#figure === null) this.#tell(`The plot cannot be shown: ${error.message}`);
    } finally {
      this.#busy = false;
    }
  }

  /** Shows a figure; null: that there is none. */
  async draw(figure) {
    this.#figure = figure;
    this.node.removeAttribute("aria-busy");
    if (figure === null) return this.#tell(this.empty);
    if (!this.#feed.plotly) return this.#tell("Plots need the Python package plotly on the server.");
    return this.#show();
  }

  #tell(text) {
    say(this.words, text);
    this.words.hidden = false;
    this.scroller.hidden = true;
    say(this.caption, "");
  }

  async #show() {
    const figure = this.#figure;
    if (figure === null || this.#gone) return;
    const Plotly = await load(this.#feed.plotly);
    if (this.#gone || figure !== this.#figure) return;
    this.words.hidden = true;
    this.scroller.hidden = false;
    const { data, layout } = dressed(figure);
    layout.datarevision = this.#feed.version;
    layout.uirevision = "kept"; // zoom and what is switched off stay as new trials arrive
    this.canvas.style.height = `${layout.height ?? 360}px`;
    await Plotly.react(this.canvas, data, layout, SETTINGS);
    if (!this.#drawn) {
      this.#drawn = true;
      this.canvas.on("plotly_click", (event) => {
        const id = event.points?.[0]?.customdata;
        if (typeof id === "string" && this.#feed.trials.has(id)) this.onTrial?.(id);
      });
    }
    say(this.caption, this.#describe(figure));
  }
}

/** The colours of the page, as they are just now. */
function colours(node) {
  const probe = el("span", { class: "probe" });
  node.append(probe);
  const read = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const dark = darkness(read("ground"));
  const found = { dark, text: read("text"), muted: read("muted"), line: read("line"), card: read("card"), font: getComputedStyle(document.body).fontFamily };
  probe.remove();
  return found;
}

function darkness(colour) {
  const [red, green, blue] = (colour.match(/[\d.]+/g) ?? [255, 255, 255]).map(Number);
  return red + green + blue < (colour.startsWith("color(") ? 1.5 : 382);
}

/** The same with each colour that has a lighter one. */
function lighter(value) {
  if (typeof value === "string") return ON_DARK[value.toLowerCase()] ?? value;
  if (Array.isArray(value)) return typeof value[0] === "number" && value.every((x) => typeof x === "number") ? value : value.map(lighter);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, lighter(inner)]));
}

/** A figure in the colours of the page; the one that was given stays as it is. */
function dressed(figure) {
  const { text, muted, line, card, font, dark } = colours(document.body);
  const clear = "rgba(0,0,0,0)";
  const layout = {
    ...figure.layout,
    paper_bgcolor: clear,
    plot_bgcolor: clear,
    font: { family: font, size: 12, color: text },
    hoverlabel: { bgcolor: card, bordercolor: line, font: { family: font, size: 12, color: text }, align: "left" },
    modebar: { bgcolor: clear, color: muted, activecolor: text },
    autosize: true,
  };
  layout.legend = { bgcolor: clear, ...figure.layout.legend };
  for (const [name, axis] of Object.entries(figure.layout)) {
    if (!/^[xy]axis\d*$/.test(name)) continue;
    layout[name] = { gridcolor: line, linecolor: line, zerolinecolor: line, tickfont: { color: muted, size: 11 }, ...axis };
    if (axis.title) layout[name].title = { font: { size: 12, color: muted }, standoff: 8, ...axis.title };
  }
  const data = figure.data.map((given) => {
    const trace = { ...given };
    for (const part of ["line", "marker"]) if (dark && given[part]) trace[part] = lighter(given[part]);
    if (trace.type !== "parcoords") return trace;
    const small = { family: font, size: 11, color: muted };
    return { ...trace, labelfont: { family: font, size: 12, color: text }, tickfont: small, rangefont: { ...small, color: clear } };
  });
  return { data, layout };
}
