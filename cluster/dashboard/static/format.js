// Numbers, spans and times as people read them.

/** A score or a rate, in five digits. */
export function number(value) {
  if (typeof value !== "number") return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return value.toExponential(3).replace(/\.?0+e/, "e");
  return String(Number(value.toPrecision(5)));
}

/** A hyperparameter's value. */
export function value(given) {
  if (given === undefined || given === null) return "–";
  if (typeof given === "number") return Number.isInteger(given) ? String(given) : number(given);
  return typeof given === "string" ? given : JSON.stringify(given);
}

export function count(given) {
  return given.toLocaleString("en");
}

export function percent(given) {
  return typeof given === "number" ? `${Math.round(100 * given)} %` : "–";
}

/** A span of time in at most two units. */
export function span(seconds) {
  if (typeof seconds !== "number") return "–";
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return seconds < 10 && seconds % 1 ? `${seconds.toFixed(1)} s` : `${whole} s`;
  for (const [size, name, next, small] of [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]]) {
    if (whole >= size) {
      const rest = Math.floor((whole % size) / next);
      return rest ? `${Math.floor(whole / size)} ${name} ${rest} ${small}` : `${Math.floor(whole / size)} ${name}`;
    }
  }
  return "";
}

export function clock(seconds) {
  return typeof seconds === "number" ? new Date(1000 * seconds).toLocaleTimeString("en-GB") : "–";
}

export function moment(seconds) {
  return typeof seconds === "number" ? new Date(1000 * seconds).toLocaleString("en-GB") : "–";
}

export function trials(many) {
  return many === 1 ? "1 trial" : `${count(many)} trials`;
}
