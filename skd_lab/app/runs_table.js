/* The list of runs: filter, sort, open. props.value: JSON list of rows; props.chosen: name of the open one.
   trigger("choose", { name }) when a run is to be opened. Names are text of nodes, never markup. */
const root = element.shadowRoot ?? element.attachShadow({ mode: "open" });
const style = document.createElement("style");
style.textContent = `
  :host { container: runs / inline-size; --open: #1e40af; }
  :host([data-dark]) { --open: #bfdbfe; }
  .runs { color: var(--body-text-color); font: 400 0.9375rem/1.45 var(--font, sans-serif); }
  label { display: flex; flex-wrap: wrap; align-items: center; gap: 0.5rem 0.75rem; margin-bottom: 0.6rem; }
  input { font: inherit; color: inherit; background: var(--input-background-fill); border: 1px solid var(--border-color-primary); border-radius: 8px;
    padding: 0.45rem 0.7rem; flex: 0 1 20rem; min-width: 8rem; box-sizing: border-box; }
  .count { color: var(--body-text-color-subdued); font-size: 0.875rem; }
  .scroll { overflow-x: auto; border: 1px solid var(--border-color-primary); border-radius: 8px; max-height: 24rem; overflow-y: auto; }
  table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
  th, td { text-align: right; padding: 0.45rem 0.8rem; white-space: nowrap; border-bottom: 1px solid var(--border-color-primary); }
  tbody tr:last-child > * { border-bottom: 0; }
  th:first-child, td:nth-child(2), td:nth-child(3), th:nth-child(2), th:nth-child(3) { text-align: left; }
  thead th { position: sticky; top: 0; z-index: 1; background: var(--background-fill-secondary); font-weight: 600; padding: 0; }
  thead button { all: unset; box-sizing: border-box; display: block; width: 100%; padding: 0.5rem 0.8rem; cursor: pointer; text-align: inherit; }
  tbody th { font-weight: 500; white-space: normal; overflow-wrap: anywhere; min-width: 8rem; max-width: 22rem; }
  tbody button { font: inherit; color: var(--open); background: none; border: 0; padding: 0.2rem 0; cursor: pointer; text-align: start; text-decoration: underline; text-underline-offset: 3px; overflow-wrap: anywhere; }
  tbody tr:hover { background: var(--background-fill-secondary); }
  tr[aria-current="true"] { background: var(--color-accent-soft, var(--background-fill-secondary)); }
  tr[aria-current="true"] button { font-weight: 700; }
  :is(button, input, .scroll):focus-visible { outline: 2px solid var(--color-accent, #2c68b0); outline-offset: -2px; border-radius: 4px; }
  small { color: var(--body-text-color-subdued); }
  .none { margin: 0; padding: 0.8rem; }
  @container runs (max-width: 640px) {
    thead { position: absolute; clip-path: inset(50%); }
    table, tbody { display: block; }
    tbody tr { display: grid; grid-template-columns: 1fr 1fr; gap: 0.1rem 0.8rem; padding: 0.6rem 0.8rem; border-bottom: 1px solid var(--border-color-primary); }
    tbody th { grid-column: 1 / -1; max-width: none; }
    th, td, tbody td:nth-child(n) { display: block; border: 0; padding: 0; text-align: start; white-space: normal; }
    td::before { content: attr(data-label) " "; color: var(--body-text-color-subdued); font-size: 0.8125rem; }
    tbody td.empty:nth-child(n) { display: none; }
  }
`;
const make = (tag, className, ...children) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
};
const number = (value, form) => (typeof value === "number" && Number.isFinite(value) ? form(value) : "–");
const percent = (value) => `${(100 * value).toFixed(1)}%`;
const COLUMNS = [
  ["run", "name", (row) => row.name],
  ["method", "method", (row) => row.method ?? "–"],
  ["task", "task", (row) => row.task ?? "–"],
  ["updates", "steps", (row) => number(row.steps, (n) => n.toLocaleString("en-US")) + (row.planned && row.planned !== row.steps ? ` of ${row.planned.toLocaleString("en-US")}` : "")],
  ["last loss", "loss", (row) => number(row.loss, (loss) => loss.toFixed(3))],
  ["replaced, first", "replaced_first", (row) => number(row.replaced_first, percent)],
  ["replaced, last", "replaced_last", (row) => number(row.replaced_last, percent)],
  ["score", "value", (row) => number(row.value, percent)],
];
const search = make("input", ""), count = make("span", "count"), head = make("tr", ""), body = make("tbody", "");
search.type = "search";
search.placeholder = "name, method or task";
count.setAttribute("role", "status");
const scroll = make("div", "scroll", make("table", "", make("thead", "", head), body));
scroll.tabIndex = 0;
scroll.setAttribute("role", "region");
scroll.setAttribute("aria-label", "Runs");
root.replaceChildren(style, make("div", "runs", make("label", "", "Filter", search, count), scroll));
let rows = [], by = null, down = false;

COLUMNS.forEach(([words, key]) => {
  const sort = make("button", "", words), cell = make("th", "", sort);
  sort.type = "button";
  cell.scope = "col";
  cell.dataset.key = key;
  sort.addEventListener("click", () => {
    down = by === key ? !down : typeof rows.find((row) => row[key] !== null)?.[key] === "number";
    by = key;
    list();
  });
  head.append(cell);
});

function order(a, b) {
  const one = a[by] ?? null, two = b[by] ?? null;
  if (one === null || two === null) return (one === null) - (two === null); // what was not measured comes last
  const found = typeof one === "number" ? one - two : String(one).localeCompare(String(two), "en", { numeric: true });
  return down ? -found : found;
}

function list() {
  const words = search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const shown = rows.filter((row) => words.every((word) => [row.name, row.method, row.task].some((text) => String(text ?? "").toLowerCase().includes(word))));
  if (by) shown.sort(order);
  for (const cell of head.children) {
    const own = cell.dataset.key === by;
    if (own) cell.setAttribute("aria-sort", down ? "descending" : "ascending"); else cell.removeAttribute("aria-sort");
    cell.firstChild.textContent = COLUMNS.find(([, key]) => key === cell.dataset.key)[0] + (own ? (down ? " ↓" : " ↑") : "");
  }
  body.replaceChildren(...shown.map((row) => {
    const open = make("button", "", row.name), line = make("tr", "", make("th", "", open));
    open.type = "button";
    open.addEventListener("click", () => trigger("choose", { name: row.name }));
    line.firstChild.scope = "row";
    if (row.name === props.chosen) line.setAttribute("aria-current", "true");
    COLUMNS.slice(1).forEach(([label, key, text]) => {
      const cell = make("td", row[key] === null || row[key] === undefined ? "empty" : "", text(row));
      cell.dataset.label = label;
      if (key === "value" && row.metric) cell.append(make("small", "", ` ${row.metric.replaceAll("_", "-")}`));
      line.append(cell);
    });
    return line;
  }));
  if (!shown.length) {
    const cell = make("td", "none", rows.length ? "No run matches the filter." : "No run is here yet.");
    cell.colSpan = COLUMNS.length;
    body.append(make("tr", "", cell));
  }
  count.textContent = shown.length === rows.length ? `${rows.length} runs` : `${shown.length} of ${rows.length} runs`;
}

function update() {
  element.toggleAttribute("data-dark", document.body.classList.contains("dark"));
  try { rows = JSON.parse(props.value || "[]"); } catch { rows = []; }
  list();
}
search.addEventListener("input", list);
update();
watch(["value", "chosen"], update);
