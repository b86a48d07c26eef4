/* Bars of the teacher's ranks, and the share of proposals accepted at every K.
   props.value: {"ranks": [...], "k": K in force or null, "chosen": [low, high] or nothing}; props.k: the what-if K.
   trigger("brush") when a bar was chosen or let go; the choice stands in props.value then. */
const root = element.shadowRoot ?? element.attachShadow({ mode: "open" });
const style = document.createElement("style");
style.textContent = `
  :host { color: var(--body-text-color); font: 400 0.875rem/1.4 var(--font, sans-serif); }
  figure { margin: 0; } figcaption { font-weight: 600; margin-bottom: 0.15rem; }
  p { margin: 0 0 0.6rem; color: var(--body-text-color-subdued); max-width: 46rem; }
  .scroll { overflow-x: auto; }
  .bars { display: flex; align-items: end; gap: 3px; height: 11rem; min-width: 30rem; position: relative; border-bottom: 1px solid currentColor; }
  button { all: unset; flex: 1; height: 100%; display: flex; flex-direction: column; justify-content: end; cursor: pointer; border-radius: 4px 4px 0 0; }
  button:hover { background: var(--background-fill-secondary); }
  button:focus-visible { outline: 3px solid currentColor; outline-offset: -3px; }
  .bar { background: #4587cf; border-radius: 3px 3px 0 0; min-height: 0; }
  .refused .bar { background: repeating-linear-gradient(45deg, #c7771c 0 5px, #f0b060 5px 9px); }
  [aria-pressed="true"] .bar { outline: 3px solid currentColor; outline-offset: 1px; }
  .count { text-align: center; font-variant-numeric: tabular-nums; font-size: 0.8125rem; }
  .names { display: flex; gap: 3px; min-width: 30rem; }
  .names div { flex: 1; text-align: center; font-size: 0.75rem; padding-top: 0.2rem; font-variant-numeric: tabular-nums; }
  .names small { display: block; color: var(--body-text-color-subdued); font-size: 0.75rem; }
  .names .at { font-weight: 700; }
  @media (forced-colors: active) { .bar { forced-color-adjust: none; } }`;
const box = document.createElement("div");
root.replaceChildren(style, box);

const STOPS = [1, 2, 3, 5, 10, 25, 50, 100, 1000];
function el(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}
const share = (n, all) => (n === all ? "100%" : `${Math.min(99.9, (100 * n) / all).toFixed(1)}%`);

function bins(ranks, k) {
  const edges = [...new Set([...STOPS, ...(k && k < 1000 ? [k] : [])])].sort((a, b) => a - b), out = [];
  let low = 1;
  for (const high of [...edges, Infinity]) {
    const found = ranks.filter((rank) => rank >= low && rank <= high).length;
    const name = high === Infinity ? `${low}+` : low === high ? `${low}` : `${low}–${high}`;
    out.push({ low, high, name, found, upTo: ranks.filter((rank) => rank <= high).length });
    low = high + 1;
  }
  while (out.length > 4 && out[out.length - 1].found === 0) out.pop();
  return out;
}

function draw() {
  let data = null;
  try { data = JSON.parse(props.value || "null"); } catch { /* drawn as nothing */ }
  if (!data?.ranks?.length) { box.replaceChildren(); return; }
  const k = props.k ?? data.k, all = data.ranks.length, found = bins(data.ranks, k), top = Math.max(...found.map((one) => one.found));
  const focused = root.activeElement?.dataset.low;
  const accepted = data.ranks.filter((rank) => rank <= k).length;
  const figure = el("figure", "", el("figcaption", "", "Where the teacher ranked the student’s proposals"));
  figure.append(el("p", "", (k ? `K = ${k} accepts ${accepted} of ${all} (${share(accepted, all)}). ` : "") +
    "Striped bars lie beyond K. Press a bar to light its tokens in the text; the line below says what share each K would accept."));
  const bars = el("div", "bars"), names = el("div", "names");
  for (const one of found) {
    const button = el("button", k && one.low > k ? "refused" : "", el("span", "count", one.found ? `${one.found}` : ""));
    const bar = el("span", "bar"), on = data.chosen?.[0] === one.low;
    bar.style.height = `${(80 * one.found) / top}%`;
    button.append(bar);
    button.type = "button";
    button.dataset.low = `${one.low}`;
    button.setAttribute("aria-pressed", `${on}`);
    const limit = one.high === Infinity ? "every K" : `K = ${one.high}`;
    button.setAttribute("aria-label", `rank ${one.name}: ${one.found} of ${all} proposals; ${limit} accepts ${share(one.upTo, all)}`);
    button.addEventListener("click", () => choose(data, on ? null : [one.low, Math.min(one.high, 1e9)]));
    bars.append(button);
    names.append(el("div", one.high === k ? "at" : "", one.name, el("small", "", one.high === Infinity ? "100%" : share(one.upTo, all))));
  }
  figure.append(el("div", "scroll", bars, names));
  box.replaceChildren(figure);
  if (focused) root.querySelector(`[data-low="${focused}"]`)?.focus();
}

function choose(data, chosen) {
  props.value = JSON.stringify({ ranks: data.ranks, k: data.k, chosen });
  draw();
  trigger("brush");
}
draw();
watch(["value", "k"], draw);
