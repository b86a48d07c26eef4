/* Small pictures of numbers over updates, made of nodes: a line with its axis, in the page's colours. */
const NS = "http://www.w3.org/2000/svg";

function shape(tag, attributes, ...children) {
  const node = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function piece(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

const shown = (value, rate) => (rate ? `${(100 * value).toFixed(1)}%` : value.toPrecision(3));

/* A round number at or above the highest value, for the axis. */
function roof(high, rate) {
  if (!(high > 0)) return rate ? 0.1 : 1;
  const unit = 10 ** Math.floor(Math.log10(high));
  const found = [1, 1.5, 2, 3, 5, 7.5, 10].find((one) => one * unit >= high * 1.02) ?? 10;
  return rate ? Math.min(1, found * unit) : found * unit;
}

/* { title, rate, color, x: [...], y: [... or null], end: last x of the axis, mark: x or null, now: place
   whose value stands in the title (else the last), width and height in pixels } */
function chart({ title, rate, color, x, y, end, mark, now, width = 420, height = 150 }) {
  const box = piece("figure", "chart"), points = x.map((at, n) => [at, y[n]]).filter(([, value]) => Number.isFinite(value));
  const caption = piece("figcaption", "", title);
  box.append(caption);
  if (!points.length) {
    box.append(piece("p", "none", "not measured"));
    return box;
  }
  const last = points[points.length - 1], first = points[0], W = Math.max(240, width), H = height, L = 44, B = 20, T = 8, R = 14;
  const top = roof(Math.max(...points.map(([, value]) => value)), rate), right = Math.max(end ?? 0, last[0], 1);
  const px = (at) => L + (W - L - R) * at / right, py = (value) => T + (H - T - B) * (1 - Math.min(1, value / top));
  const says = `${title}: ${shown(first[1], rate)} at update ${first[0]}, ${shown(last[1], rate)} at update ${last[0]}`;
  const svg = shape("svg", { viewBox: `0 0 ${W} ${H}`, width: W, height: H, role: "img", "aria-label": says });
  for (const part of [0, 0.5, 1]) {
    svg.append(
      shape("line", { x1: L, x2: W - R, y1: py(part * top), y2: py(part * top), class: "grid" }),
      shape("text", { x: L - 6, y: py(part * top) + 4, class: "tick", "text-anchor": "end" }, rate ? `${+(100 * part * top).toFixed(1)}%` : `${+(part * top).toPrecision(3)}`),
    );
  }
  for (const at of [0, right]) svg.append(shape("text", { x: px(at), y: H - 5, class: "tick", "text-anchor": at ? "end" : "start" }, `${at}`));
  if (mark !== undefined && mark !== null) svg.append(shape("line", { x1: px(mark), x2: px(mark), y1: T, y2: H - B, class: "mark" }));
  const line = points.map(([at, value]) => `${px(at).toFixed(1)},${py(value).toFixed(1)}`).join(" ");
  if (points.length > 1) svg.append(shape("polyline", { points: line, fill: "none", stroke: color, "stroke-width": 2, "stroke-linejoin": "round" }));
  const dots = points.length < 16 ? points : [last];
  for (const [at, value] of dots) svg.append(shape("circle", { cx: px(at), cy: py(value), r: at === mark ? 5 : 3.5, fill: color }));
  const said = now === undefined ? last[1] : y[now];
  caption.append(piece("b", "", ` ${Number.isFinite(said) ? shown(said, rate) : "not measured"}`));
  box.append(svg);
  return box;
}

/* Draw again when the component got another width, as a tab that opens does: words keep their size. */
function whenResized(element, draw) {
  let last = element.clientWidth;
  new ResizeObserver(() => {
    if (element.clientWidth && Math.abs(element.clientWidth - last) > 2) { last = element.clientWidth; draw(); }
  }).observe(element);
}

const CHART_CSS = `
  .chart { margin: 0; min-width: 0; color: var(--body-text-color, inherit); }
  .chart figcaption { font: 400 0.875rem/1.4 var(--font, sans-serif); color: var(--body-text-color-subdued, inherit); }
  .chart figcaption b { font-weight: 650; color: var(--body-text-color, inherit); font-variant-numeric: tabular-nums; }
  .chart svg { display: block; max-width: 100%; height: auto; overflow: visible; }
  .chart .none { margin: 0.4rem 0 0; font: 400 0.875rem/1.4 var(--font, sans-serif); }
  .grid { stroke: currentColor; opacity: 0.16; }
  .mark { stroke: currentColor; stroke-dasharray: 3 3; opacity: 0.7; }
  .tick { font: 400 12px var(--font, sans-serif); fill: var(--body-text-color-subdued, currentColor); font-variant-numeric: tabular-nums; }
`;
