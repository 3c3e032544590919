"use strict";
// Draws the figures in the page's colours, and the table of trials, whose columns sort it. Foreign text is only ever text.
const data = JSON.parse(document.getElementById("data").textContent);
// No button that lasso-selects, and none that sends the figure anywhere.
const config = {
  responsive: true,
  displaylogo: false,
  modeBarButtonsToRemove: ["sendChartToCloud", "select2d", "lasso2d", "autoScale2d"],
};
const dark = matchMedia("(prefers-color-scheme: dark)");

function colours() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  return { paper: of("--paper"), ink: of("--ink"), faint: of("--faint"), line: of("--line"), band: of("--band") };
}

function themed(layout) {
  const { paper, ink, line, band } = colours();
  const themed = structuredClone(layout);
  Object.assign(themed, {
    paper_bgcolor: paper,
    plot_bgcolor: paper,
    font: { color: ink, size: 12, family: getComputedStyle(document.body).fontFamily },
    hoverlabel: { bgcolor: band, bordercolor: line, font: { color: ink } },
  });
  for (const [name, axis] of Object.entries(themed)) {
    if (/^[xy]axis\d*$/.test(name)) Object.assign(axis, { gridcolor: line, linecolor: line, zerolinecolor: line });
  }
  return themed;
}

function draw() {
  for (const place of document.querySelectorAll(".plot")) {
    const figure = data.figures[place.dataset.figure];
    if (figure.layout.height) place.style.minHeight = `${figure.layout.height}px`;
    Plotly.react(place, structuredClone(figure.data), themed(figure.layout), config);
  }
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), undefined, { numeric: true });
}

function shown(value) {
  if (value === null || value === undefined) return "";
  return typeof value === "number" && !Number.isInteger(value) ? String(Number(value.toPrecision(5))) : String(value);
}

function table(place, columns, rows) {
  const head = place.createTHead().insertRow();
  const body = place.createTBody();
  const numeric = columns.map((_, n) => rows.every((row) => row[n] === null || typeof row[n] === "number"));
  const lines = rows.map((row) => {
    const line = document.createElement("tr");
    row.forEach((value, n) => {
      const cell = line.insertCell();
      cell.textContent = shown(value);
      cell.title = cell.textContent;
      if (numeric[n]) cell.className = "number";
      if (columns[n] === "status" && value === "FAILED") cell.className = "failed";
    });
    return line;
  });
  body.append(...lines);
  columns.forEach((name, n) => {
    const cell = document.createElement("th");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name;
    cell.scope = "col";
    if (numeric[n]) cell.className = "number";
    cell.append(button);
    head.append(cell);
    button.addEventListener("click", () => {
      const down = cell.getAttribute("aria-sort") === "ascending";
      for (const other of head.cells) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      const order = rows.map((row, at) => [row[n], at]);
      // What has no value stays at the end.
      const known = order.filter(([value]) => value !== null).sort(([a], [b]) => (down ? compare(b, a) : compare(a, b)));
      const unknown = order.filter(([value]) => value === null);
      body.append(...[...known, ...unknown].map(([, at]) => lines[at]));
    });
  });
}

for (const place of document.querySelectorAll("table[data-table]")) {
  const { columns, rows } = data.tables[place.dataset.table];
  table(place, columns, rows);
}
draw();
dark.addEventListener("change", draw);
