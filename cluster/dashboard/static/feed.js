// What the server tells: which searches there are, and one of them, kept up to date by server-sent events.

const AGAIN = 2000; // ms, after an answer that was none

/**
 * Events: `searches` (which there are, and whether their source is away), `change` (of the search that is looked at),
 * `head` (its times and rates), `link` (whether the server is heard of).
 */
export class Feed extends EventTarget {
  searches = [];
  source = "";
  away = "";
  plotly = "";
  link = "connecting";
  search = null; // the id of the search that is looked at
  header = null;
  version = 0;
  trials = new Map(); // by id, in the order of their ids
  #events = null;
  #timer = 0;
  #turn = 0;
  #began = 0;

  /** Looks at a search; null: at none as yet. */
  open(search) {
    this.search = search;
    this.header = null;
    this.version = 0;
    this.trials = new Map();
    this.#connect();
  }

  /** The server's clock, in Unix seconds. */
  now() {
    return this.header === null ? Date.now() / 1000 : this.header.now + (performance.now() - this.#began) / 1000;
  }

  /** Up to when times count: now, or the end of what is over. */
  until() {
    return this.header.until < this.header.now ? this.header.until : this.now();
  }

  #connect() {
    clearTimeout(this.#timer);
    this.#events?.close();
    const place = this.search === null ? "api/events" : `api/searches/${encodeURIComponent(this.search)}/events`;
    const events = (this.#events = new EventSource(place));
    events.addEventListener("open", () => this.#heard("live"));
    events.addEventListener("error", () => {
      this.#heard("lost");
      // After an answer that is none the browser does not ask again: the search may be gone, the cookie too old.
      if (events.readyState === EventSource.CLOSED && events === this.#events) {
        this.#timer = setTimeout(() => this.#ask(), AGAIN);
      }
    });
    events.addEventListener("searches", (event) => {
      Object.assign(this, JSON.parse(event.data));
      this.dispatchEvent(new Event("searches"));
    });
    events.addEventListener("changes", (event) => this.#take(JSON.parse(event.data)));
    events.addEventListener("header", (event) => {
      this.#head(JSON.parse(event.data).header);
      this.dispatchEvent(new Event("head"));
    });
  }

  async #ask() {
    try {
      const answer = await fetch("api/searches");
      if (answer.status === 401) return location.reload();
      Object.assign(this, await answer.json());
      this.dispatchEvent(new Event("searches"));
    } catch {
      // It is still away.
    }
    this.#connect();
  }

  #heard(link) {
    if (this.link === link) return;
    this.link = link;
    this.dispatchEvent(new Event("link"));
  }

  #head(header) {
    this.header = header;
    this.#began = performance.now();
  }

  #take(facts) {
    this.#head(facts.header);
    this.version = facts.version;
    if (facts.whole) this.trials = new Map();
    let added = false;
    for (const row of facts.trials) {
      row.turn = ++this.#turn;
      added ||= !this.trials.has(row.id);
      this.trials.set(row.id, row);
    }
    if (added && !facts.whole) this.trials = new Map([...this.trials].sort(([a], [b]) => byId(a, b)));
    this.dispatchEvent(new CustomEvent("change", { detail: new Set(facts.trials.map((row) => row.id)) }));
  }
}

/** Trials by id, as numbers where they are. */
export function byId(a, b) {
  return a.localeCompare(b, "en", { numeric: true });
}

/** One answer of the server, as JSON. */
export async function get(place) {
  const answer = await fetch(place);
  if (answer.status === 401) location.reload();
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
  return answer.json();
}
