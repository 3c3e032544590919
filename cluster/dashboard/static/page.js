// The page: which view of which search is shown, by the address's hash, such as #trial/0012?search=ab12.

import { el, say } from "./dom.js";
import { Feed } from "./feed.js";
import { FigureView, names as figures, title as figureTitle } from "./figures.js";
import { number, trials as ofTrials } from "./format.js";
import { Overview } from "./overview.js";
import { TrialView } from "./trial.js";
import { Trials } from "./trials.js";
import { Workers } from "./workers.js";

const SAID_EVERY = 15000; // ms between two announcements
const THEMES = { auto: "System", light: "Light", dark: "Dark" };
const node = Object.fromEntries(["name", "state", "pick", "picker", "link", "link-text", "theme", "views", "notice", "main", "about", "announce", "skip"].map((id) => [id, document.getElementById(id)]));

const VIEWS = [["overview", "Overview"], ["parallel", figureTitle("parallel")], ["importance", figureTitle("importance")], ["slices", figureTitle("slices")], ["curves", figureTitle("curves")], ["timeline", figureTitle("timeline")], ["trials", "Trials"], ["workers", "Workers"]];
const feed = new Feed();
let place = read();
let view = null;
let pinned = place.search; // the search that the address names; null: none
let said = "";
let saidAt = 0;

/** What of the page the views use. */
const page = {
  link(name, argument) {
    const search = pinned === null ? "" : `?search=${encodeURIComponent(pinned)}`;
    return `#${name}${argument === undefined ? "" : `/${encodeURIComponent(argument)}`}${search}`;
  },
  go(name, argument) {
    location.hash = page.link(name, argument);
  },
};

function read() {
  const [path, query = ""] = location.hash.slice(1).split("?");
  const [name, ...rest] = path.split("/");
  const argument = rest.length ? decode(rest.join("/")) : undefined;
  return { name: name || "overview", argument, search: new URLSearchParams(query).get("search") };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function make() {
  if (place.name === "trial" && place.argument !== undefined) return new TrialView(feed, page, place.argument);
  if (place.name === "trials") return new Trials(feed, page);
  if (place.name === "workers") return new Workers(feed, page);
  if (figures.includes(place.name)) return new FigureView(feed, page, place.name);
  return new Overview(feed, page);
}

function show() {
  view?.close();
  view = null;
  links();
  if (feed.header === null) return;
  view = make();
  node.main.replaceChildren(view.node);
  node.main.dataset.view = place.name;
  view.change(null);
}

function links() {
  const here = place.name === "trial" ? "trials" : VIEWS.some(([name]) => name === place.name) ? place.name : "overview";
  node.views.replaceChildren(...VIEWS.map(([name, text]) => el("li", {}, el("a", { href: page.link(name), "aria-current": name === here ? "page" : undefined }, text))));
  node.views.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

function moved() {
  const before = place;
  place = read();
  if (place.search !== null && place.search !== feed.search) return look(place.search);
  pinned = place.search ?? pinned;
  show();
  // Who follows a link by the keyboard goes on from the view.
  if (before.name !== place.name || before.argument !== place.argument) {
    node.main.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

function look(search) {
  pinned = search;
  feed.open(search);
  view?.close();
  view = null;
  node.main.replaceChildren(el("p", { class: "empty" }, "Waiting for the search …"));
  links();
  searches();
}

function searches() {
  const known = feed.searches;
  if (feed.search !== null && known.length && !known.some((one) => one.id === feed.search) && !feed.away) {
    notice("This search is not there any more.", known[0]);
  } else if (feed.search === null && known.length) {
    const wanted = known.find((one) => one.id === pinned) ?? known[0];
    pinned = known.length > 1 ? wanted.id : pinned;
    feed.open(wanted.id);
    links();
  } else if (feed.search !== null && known.length && known[0].id !== feed.search && newer(known)) {
    notice("A newer search has begun:", known[0]);
  }
  if (feed.search === null && !known.length) {
    node.main.replaceChildren(el("p", { class: "empty" }, feed.away || `There is no search yet in ${feed.source}. This page shows it as soon as it begins.`));
  }
  picker();
  link();
}

let seen = null; // the searches that were there when the page came
function newer(known) {
  seen ??= new Set(known.map((one) => one.id));
  return !seen.has(known[0].id);
}

function notice(text, to) {
  const show = el("a", { href: `#overview?search=${encodeURIComponent(to.id)}` }, to.name);
  show.addEventListener("click", () => { node.notice.hidden = true; });
  const leave = el("button", { type: "button", class: "quiet", "aria-label": "Dismiss" }, "×");
  leave.addEventListener("click", () => { seen?.add(to.id); node.notice.hidden = true; });
  if (node.notice.dataset.to === to.id && !node.notice.hidden) return;
  node.notice.dataset.to = to.id;
  node.notice.replaceChildren(el("span", {}, text, " ", show), leave);
  node.notice.hidden = false;
}

function picker() {
  node.pick.hidden = feed.searches.length < 2;
  const key = JSON.stringify(feed.searches);
  if (picker.key !== key) {
    const count = new Map();
    for (const one of feed.searches) count.set(one.name, (count.get(one.name) ?? 0) + 1);
    node.picker.replaceChildren(...feed.searches.map((one) => el("option", { value: one.id }, count.get(one.name) > 1 ? `${one.name} (${one.id.slice(0, 4)})` : one.name)));
  }
  picker.key = key;
  node.picker.value = feed.search ?? "";
}

function link() {
  const state = feed.link === "live" && feed.away ? "away" : feed.link;
  const texts = { connecting: "connecting", live: "live", away: "source away", lost: "server away, trying again" };
  node.link.dataset.link = state;
  say(node["link-text"], texts[state]);
  node.link.title = state === "away" ? feed.away : "";
}

function head() {
  const { header } = feed;
  say(node.name, header.name);
  node.state.hidden = !header.state;
  node.state.dataset.status = header.state;
  say(node.state, header.state);
  node.state.title = header.why;
  const ended = (header.counts.completed ?? 0) + (header.counts.pruned ?? 0) + (header.counts.failed ?? 0);
  document.title = `${ended}${header.max_trials === null ? "" : `/${header.max_trials}`} · ${header.name}`;
  const last = header.last_event === null ? null : Math.max(0, feed.now() - header.last_event);
  const why = header.why ? ` (${header.why})` : "";
  say(node.about, [feed.source, header.state && `${header.state}${why}`, last !== null && `last event ${ago(last)} ago`].filter(Boolean).join(" · "));
  announce(`${ended} of ${header.max_trials === null ? "some trials" : ofTrials(header.max_trials)} ended${header.best === null ? "" : `, best ${header.objective} ${number(feed.trials.get(header.best)?.score)}`}${header.state === "running" ? "" : `, the search has ${header.state}`}.`);
}

function ago(seconds) {
  for (const [size, name] of [[86400, "d"], [3600, "h"], [60, "min"]]) if (seconds >= size) return `${Math.floor(seconds / size)} ${name}`;
  return `${Math.round(seconds)} s`;
}

/** For those who listen: how it goes, now and then. */
function announce(text) {
  const now = performance.now();
  if (text === said || now - saidAt < SAID_EVERY) return;
  if (said) say(node.announce, text); // not at once: the page itself is being read
  said = text;
  saidAt = now;
}

function theme() {
  const chosen = document.documentElement.dataset.theme ?? "auto";
  say(node.theme, THEMES[chosen]);
  node.theme.setAttribute("aria-label", `Colours: ${THEMES[chosen].toLowerCase()}`);
}

node.theme.addEventListener("click", () => {
  const order = Object.keys(THEMES);
  const next = order[(order.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % order.length];
  if (next === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  try {
    if (next === "auto") localStorage.removeItem("theme");
    else localStorage.setItem("theme", next);
  } catch {
    // Without storage it holds until the page is left.
  }
  theme();
  document.dispatchEvent(new Event("theme"));
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("theme")));
node.picker.addEventListener("change", () => { location.hash = `#${place.name === "trial" ? "trials" : place.name}?search=${encodeURIComponent(node.picker.value)}`; });
node.skip.addEventListener("click", (event) => { event.preventDefault(); node.main.focus(); });
addEventListener("hashchange", moved);
feed.addEventListener("searches", searches);
feed.addEventListener("link", link);
feed.addEventListener("head", () => { head(); view?.head(); });
feed.addEventListener("change", ({ detail }) => {
  head();
  if (view === null) show();
  else view.change(detail);
});
setInterval(() => { if (feed.header !== null && !document.hidden) { head(); view?.head(); } }, 1000);

theme();
links();
feed.open(place.search);
