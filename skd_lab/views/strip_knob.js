/* The controls: K on a native range under the histogram of the ranks it cuts, colour and layout. */

const SVG = "http://www.w3.org/2000/svg"; /* a name, no address */
const LAYOUTS = { inline: "Inline", stacked: "Stacked", plain: "Plain", table: "Table" };

function controls() {
  const bar = el("div", "controls");
  state.knob = knob();
  const colour = el("select");
  Object.entries(CHANNELS).forEach(([name, { label }]) => { const one = el("option", "", label); one.value = name; colour.append(one); });
  colour.addEventListener("change", () => { view.colour = colour.value; recolour(); applyView(); changed(); });
  const layout = el("div", "segments");
  layout.setAttribute("role", "radiogroup");
  layout.setAttribute("aria-label", "Layout");
  const group = `layout-${Math.random().toString(36).slice(2)}`;
  Object.entries(LAYOUTS).forEach(([name, words]) => {
    const one = el("input");
    one.type = "radio";
    one.name = group;
    one.value = name;
    one.addEventListener("change", () => { view.layout = name; applyView(); changed(); });
    layout.append(el("label", "", one, el("span", "", words)));
  });
  state.colour = colour;
  state.layout = layout;
  const guessing = button("plainer", "Guess first", () => startGuess(true));
  bar.append(state.knob.box, el("div", "choices", el("label", "pick", "Colour by ", colour), layout, guessing, saveMenu()), guessBar());
  return bar;
}

const changed = () => { emit("view_change", { colour: view.colour, layout: view.layout }); savePlace(); };

/* Colour, layout and K of `view` onto the page; the tokens' nodes stay. */
function applyView() {
  frame.dataset.layout = view.layout;
  frame.dataset.colour = view.colour;
  frame.toggleAttribute("data-lit", view.highlight !== null);
  frame.toggleAttribute("data-guess", view.predict);
  frame.toggleAttribute("data-compact", Boolean(props.compact));
  if (state.colour) {
    state.colour.value = view.colour;
    state.layout.querySelectorAll("input").forEach((one) => { one.checked = one.value === view.layout; });
  }
  if (view.layout === "table") state.traces.forEach((_, index) => drawTable(index));
  syncControls();
}

/* --- K --- */

function knob() {
  const own = { box: el("div", "knob"), stops: [], free: true };
  own.range = el("input");
  own.range.type = "range";
  own.range.min = "0";
  own.range.step = "1";
  own.range.setAttribute("aria-label", "K: the teacher keeps a proposal that is among its K most likely tokens");
  own.range.addEventListener("input", () => setK(own.stops[Number(own.range.value)]));
  own.range.addEventListener("change", () => { clearTimeout(own.timer); own.timer = setTimeout(() => emit("k_change", { k: view.k }), 300); savePlace(); });
  own.words = el("p", "words");
  own.value = el("b", "value");
  own.back = button("plainer", "As recorded", () => { setK(null); own.range.focus(); emit("k_change", { k: null }); savePlace(); });
  own.bars = el("div", "bars");
  own.bars.setAttribute("role", "group");
  own.bars.setAttribute("aria-label", "How many proposals have which teacher rank; a bar picks out its tokens");
  own.curve = document.createElementNS(SVG, "svg");
  own.curve.setAttribute("aria-hidden", "true");
  own.curve.setAttribute("preserveAspectRatio", "none");
  own.line = own.curve.appendChild(document.createElementNS(SVG, "polyline"));
  own.ticks = el("div", "ticks");
  own.ticks.setAttribute("aria-hidden", "true");
  own.dial = el("div", "dial", own.curve, own.bars, own.range, own.ticks);
  own.ends = el("p", "ends", el("span", "", "K = 1: nearly supervised"), el("span", "how", "bars: proposals by rank, dashes: share accepted"), el("span", "", "K = |V|: on-policy"));
  own.box.append(el("div", "head", own.value, own.words, own.back), own.dial, own.ends);
  return own;
}

/* Another K, null for the recorded one. */
function setK(k, quiet = false) {
  const asRecorded = k !== null && state.traces.every((trace) => whyNot(trace) !== null || finite(trace.header.accept_top_k) === k);
  view.k = asRecorded ? null : k;
  if (!quiet) recolour();
}

function syncControls() {
  const own = state?.knob;
  if (!own) return;
  const open = state.traces.filter((trace) => whyNot(trace) === null);
  const reasons = [...new Set(state.traces.map(whyNot).filter(Boolean))];
  own.free = open.length > 0;
  own.box.classList.toggle("off", !own.free);
  if (!own.free) {
    own.range.disabled = true;
    own.range.setAttribute("aria-valuetext", "cannot be changed");
    own.value.textContent = "K ";
    own.words.textContent = reasons[0] ?? "";
    own.words.hidden = state.traces.every((trace) => !trace.tokens.length);
    own.back.hidden = own.dial.hidden = own.ends.hidden = true;
    return;
  }
  own.range.disabled = own.dial.hidden = own.ends.hidden = own.words.hidden = false;
  const limits = [...new Set(open.map((trace) => limitWords(trace.header)))], single = limits.length === 1 && finite(open[0].header.accept_top_k);
  // where the recorded K is no one number, the slider has a first stop that means "as recorded"
  const stops = [...(single ? [] : [null]), ...stopsOf(open, view.k === null ? [] : [view.k])];
  if (JSON.stringify(stops) !== JSON.stringify(own.stops)) {
    own.stops = stops;
    own.range.max = `${stops.length - 1}`;
    drawBars(own);
  }
  const now = view.k ?? (single || null), at = Math.max(0, stops.indexOf(now));
  own.range.value = `${at}`;
  const results = open.map((trace) => state.strips[state.traces.indexOf(trace)].decided);
  const judged = results.reduce((sum, one) => sum + one.accepted + one.replaced, 0), replaced = results.reduce((sum, one) => sum + one.replaced, 0);
  const name = now === null ? limits.join(", ") : whole(now);
  own.value.textContent = `K = ${name}`;
  own.words.textContent = `${view.k === null ? "as recorded" : "what if"}: the teacher ${open.every(isGiven) ? "would refuse" : "writes"} ${replaced} of ${judged} judged tokens (${percent(replaced / (judged || 1))})`;
  own.range.setAttribute("aria-valuetext", `${now === null ? "as recorded" : `${name} of ${whole(stops[stops.length - 1])}`}, ${replaced} of ${judged} replaced`);
  own.back.hidden = view.k === null;
  countBars(own, open, now);
}

function drawBars(own) {
  const last = own.stops.length - 1, place = (at) => `calc(var(--thumb) / 2 + (100% - var(--thumb)) * ${last ? at / last : 0})`;
  own.bars.replaceChildren();
  own.ticks.replaceChildren();
  own.stops.forEach((stop, at) => {
    const tick = el("span", "", stop === null ? "rec." : stop >= 10000 ? `${Math.round(stop / 1000)}k` : whole(stop));
    tick.style.insetInlineStart = place(at);
    own.ticks.append(tick);
    if (stop === null) return;
    const low = (own.stops[at - 1] ?? 0) + 1;
    const one = button("", "", () => lightRanks(low, stop));
    one.style.insetInlineStart = place(at);
    one.style.width = `min(36px, calc((100% - var(--thumb)) / ${Math.max(1, last)} * 0.72))`;
    one.append(el("span"));
    one.dataset.low = `${low}`;
    one.dataset.high = `${stop}`;
    own.bars.append(one);
  });
  own.curve.setAttribute("viewBox", `0 0 ${Math.max(1, last)} 1`);
}

/* Heights: the share of proposals with that rank, on a square root scale, as rank 1 has most. */
function countBars(own, open, now) {
  const ranks = open.flatMap((trace) => trace.tokens.map((token) => token.teacher_rank)).filter((rank) => rank > 0);
  let sum = 0;
  const points = [], bars = [...own.bars.children], highs = bars.map((one) => Number(one.dataset.high)), counts = highs.map(() => 0);
  ranks.forEach((rank) => { counts[highs.findIndex((high) => rank <= high)] += 1; });
  bars.forEach((one, at) => {
    const low = Number(one.dataset.low), high = highs[at], count = counts[at];
    sum += count;
    one.firstElementChild.style.height = `${count ? Math.max(6, 100 * Math.sqrt(count / ranks.length)).toFixed(1) : 0}%`;
    one.classList.toggle("beyond", now !== null && high > now);
    const span = low === high ? `rank ${whole(low)}` : `ranks ${whole(low)} to ${whole(high)}`;
    one.setAttribute("aria-label", `${span}: ${count} of ${ranks.length} proposals`);
    one.title = `${span}: ${count} of ${ranks.length} proposals; K = ${whole(high)} accepts ${percent(sum / (ranks.length || 1))}`;
    const lit = view.highlight?.rank;
    one.setAttribute("aria-pressed", `${Boolean(lit) && lit[0] === low && lit[1] === high}`);
    one.disabled = !count;
    points.push([own.stops.indexOf(high), 1 - sum / (ranks.length || 1)]);
  });
  own.line.setAttribute("points", points.map((point) => point.join(",")).join(" "));
}

function lightRanks(low, high) {
  const lit = view.highlight?.rank, same = lit && lit[0] === low && lit[1] === high;
  view.highlight = same ? null : { rank: [low, high] };
  frame.toggleAttribute("data-lit", view.highlight !== null);
  recolour();
}

/* k and K: a step down or up. */
function stepK(up) {
  const own = state.knob;
  if (!own?.free) return;
  const at = Math.max(0, Math.min(own.stops.length - 1, Number(own.range.value) + (up ? 1 : -1)));
  setK(own.stops[at]);
  own.range.dispatchEvent(new Event("change"));
}
