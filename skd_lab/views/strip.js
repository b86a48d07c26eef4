/* The token strip. Body of a function (element, props, trigger, watch); views/strip.py puts CSS,
   strip_model.js and strip_card.js before it, strip_keys.js behind it. props.value: NDJSON of traces (schema skd-trace/1);
   props.title: a heading. trigger("pick", {trace, i}) when a token is pinned; watch("value", f).
   Everything is built with createElement and text nodes inside a shadow root; no ids, no globals. */

const PAGE = 5000; /* tokens drawn at once; more on request */
const root = element.shadowRoot ?? element.attachShadow({ mode: "open" });
const style = el("style");
style.textContent = CSS;
const frame = el("div", "skd");
root.replaceChildren(style, frame);

let state = null;

function draw() {
  const before = state?.at ?? null, focused = root.activeElement?.closest(".tok") !== undefined && root.activeElement !== null;
  const { traces, notes } = parseTraces(props.value);
  state = { traces, strips: [], at: null, pinned: false, card: el("aside", "card") };
  state.card.setAttribute("role", "region");
  state.card.tabIndex = 0;
  const main = el("div", "main");
  if (props.title) main.append(el("h2", "head2", String(props.title)));
  notes.forEach((note) => main.append(el("p", "note", note)));
  if (!traces.length) main.append(el("p", "note", "Nothing recorded yet: there is no trace to show."));
  traces.forEach((trace, index) => main.append(section(trace, index)));
  if (traces.length) {
    main.append(el("p", "keys", el("kbd", "", "← →"), " move  ", el("kbd", "", "n"), " ", el("kbd", "", "p"),
      " next, previous refusal  ", el("kbd", "", "Enter"), " pin  ", el("kbd", "", "Esc"), " let go"));
  }
  frame.replaceChildren(el("div", "layout", main, state.card));
  clear();
  if (before && tokenNode(before)) show(before, focused);
}

/* --- one trace --- */

function section(trace, index) {
  const header = trace.header, counts = countsOf(trace), classes = rankClasses(header.accept_top_k);
  const box = el("section", "trace");
  const step = header.run ? finite(header.step) : null;
  const name = [header.method, step === null ? null : step === 0 ? "before training" : `after step ${step}`];
  box.append(el("h3", "name", name.filter(Boolean).join(" · ") || `Trace ${index + 1}`));
  const facts = [
    header.student && `student ${header.student}`, header.teacher && `teacher ${header.teacher}`,
    finite(header.accept_top_k) && `accepts the teacher’s top K\u00a0=\u00a0${header.accept_top_k}`,
    finite(header.gamma) && `drafts of γ\u00a0=\u00a0${header.gamma}`, header.finished === false && "cut at the length limit",
  ];
  box.append(el("p", "facts", facts.filter(Boolean).join(" · ")));
  if (header.prompt) {
    const prompt = String(header.prompt);
    /* one line without a chat template's markers; unfolded, the prompt is there as it was */
    const start = prompt.replace(/<\|\w*\|>/g, " ").replace(/\s+/g, " ").slice(0, 160);
    const summary = el("summary", "", el("b", "", "Prompt"), paint(el("span"), [["text", " "], ...pieces(start)]));
    box.append(el("details", "prompt", summary, paint(el("div"), pieces(prompt), true)));
  }
  const text = strip(trace, index, classes);
  box.append(legend(trace, counts, classes, text), sums(trace, counts), text);
  if (!trace.tokens.length) box.append(el("p", "note", "This completion has no tokens."));
  more(text, trace, index);
  return box;
}

function sums(trace, counts) {
  const proposed = counts.accepted + counts.replaced + counts.discarded, judged = counts.accepted + counts.replaced;
  if (!proposed) return el("p", "sum", `${trace.tokens.length} tokens, none of them proposed by a student and judged`);
  const share = judged ? ` · ${counts.replaced} of ${judged} judged tokens refused (${percent(counts.replaced / judged)})` : "";
  return el("p", "sum", `${counts.accepted} accepted + ${counts.replaced} replaced + ${counts.discarded} discarded = ${proposed} proposed${share}`);
}

function legend(trace, counts, classes, text) {
  const bar = el("ul", "legend");
  bar.setAttribute("aria-label", "Legend; a button picks out its tokens");
  const item = (name, words, count, lead = "") => {
    const caption = el("span", "", el("span", "lead", lead), words);
    const button = el("button", "", el("span", `swatch ${name}`), caption, el("b", "", `${count}`));
    button.type = "button";
    button.dataset.only = name;
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => filter(text, bar, button));
    bar.append(el("li", "", button));
  };
  const ranks = new Map();
  trace.tokens.forEach((token) => { const name = classOf(token, classes); ranks.set(name, (ranks.get(name) ?? 0) + 1); });
  classes.forEach((one) => { if (ranks.get(one.name)) item(one.name, one.label, ranks.get(one.name), "accepted, "); });
  if (counts.accepted + counts.replaced) item("replaced", "refused and replaced", counts.replaced);
  if (counts.discarded) item("discarded", "discarded", counts.discarded);
  if (counts.unverified) item("plain", "not judged", counts.unverified);
  return bar;
}

/* Pick out one class of tokens; for discarded proposals: show them as ghosts in the text. */
function filter(text, bar, button) {
  const on = button.getAttribute("aria-pressed") !== "true", name = button.dataset.only;
  bar.querySelectorAll("button").forEach((one) => {
    if ((one.dataset.only === "discarded") === (name === "discarded")) one.setAttribute("aria-pressed", "false");
  });
  button.setAttribute("aria-pressed", `${on}`);
  if (name === "discarded") { text.classList.toggle("show-ghosts", on); return; }
  text.classList.toggle("filtered", on);
  for (const node of text.querySelectorAll(".tok")) node.classList.toggle("on", on && node.classList.contains(name));
}

/* --- the text --- */

const RTL = /[\p{Script=Hebrew}\p{Script=Arabic}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}]/u;

function strip(trace, index, classes) {
  const text = el("div", "strip");
  text.setAttribute("role", "listbox");
  text.setAttribute("aria-label", `Tokens of ${trace.header.method ? `${trace.header.method}, ` : ""}trace ${index + 1}`);
  text.setAttribute("aria-orientation", "horizontal");
  // set once: dir="auto" would be resolved again for every token
  const strong = /\p{L}/u.exec(trace.tokens.map((token) => token.kept).join(""));
  text.dir = strong && RTL.test(strong[0]) ? "rtl" : "ltr";
  state.strips.push({ text, classes, shown: 0, parts: keptPieces(trace.tokens), active: 0 });
  return text;
}

function more(text, trace, index) {
  const own = state.strips[index], until = Math.min(trace.tokens.length, own.shown + PAGE);
  const fragment = document.createDocumentFragment();
  for (let place = own.shown; place < until; place += 1) fragment.append(tokenElement(trace, index, place, own));
  own.shown = until;
  text.append(fragment);
  if (text.firstElementChild) text.children[own.active].tabIndex = 0;
  if (until < trace.tokens.length) {
    const button = el("button", "more", `Show more: ${until} of ${trace.tokens.length} tokens are drawn`);
    button.type = "button";
    button.addEventListener("click", () => { button.remove(); more(text, trace, index); });
    queueMicrotask(() => text.after(button));
  }
}

const SPECIAL = /^<\|[^<>|]*\|>$|^<\/?(s|eos|bos|pad|unk|start_of_turn|end_of_turn)>$/;

function tokenElement(trace, index, place, own) {
  const token = trace.tokens[place], parts = own.parts[place], name = classOf(token, own.classes);
  const node = el("span", `tok ${name}`);
  node.setAttribute("role", "option");
  node.setAttribute("aria-selected", "false");
  node.setAttribute("aria-label", label(token, parts));
  node.tabIndex = -1;
  node.dataset.trace = `${index}`;
  node.dataset.place = `${place}`;
  if (SPECIAL.test(token.kept)) node.classList.add("special");
  const shown = parts.length ? parts : [["chip", `id ${token.kept_id}`]];
  if (name === "replaced") {
    const proposed = lonePieces(token.proposed, token.proposed_bytes);
    node.append(paint(el("del", "del"), proposed.length ? proposed : [["chip", `id ${token.proposed_id}`]]),
      paint(el("ins", "ins"), shown, true));
  } else {
    paint(node, shown, true);
  }
  const thrown = list(token.discarded);
  if (thrown.length) {
    const ghosts = el("span", "ghosts");
    ghosts.setAttribute("aria-hidden", "true");
    thrown.forEach((entry) => paint(ghosts, lonePieces(entry?.[1], entry?.[2])));
    node.append(ghosts);
  }
  return node;
}

/* --- which token the card shows: hover, focus and tap are one path --- */

const tokenNode = (at) => state.strips[at.trace]?.text.children[at.place] ?? null;
const placeOf = (node) => ({ trace: Number(node.dataset.trace), place: Number(node.dataset.place) });

function clear() {
  if (state.at) tokenNode(state.at)?.setAttribute("aria-selected", "false");
  state.at = null;
  state.pinned = false;
  state.card.setAttribute("aria-label", "About a token");
  state.card.replaceChildren(el("p", "empty", el("b", "", "Point at a token, tap it, or walk with the arrow keys. "),
    "This card then shows what the student proposed, how the teacher ranked it, and both models’ most likely tokens on one scale."));
}

function show(at, focus = false) {
  const node = tokenNode(at), own = state.strips[at.trace], trace = state.traces[at.trace];
  if (!node) return;
  if (state.at) tokenNode(state.at)?.setAttribute("aria-selected", "false");
  state.at = at;
  node.setAttribute("aria-selected", "true");
  own.text.children[own.active].tabIndex = -1;
  own.active = at.place;
  node.tabIndex = 0;
  const token = trace.tokens[at.place];
  const close = el("button", "close", "✕");
  close.type = "button";
  close.setAttribute("aria-label", "Close the card");
  close.addEventListener("click", () => { clear(); node.focus({ preventScroll: true }); clear(); });
  const nodes = cardNodes(token, trace.header, own.parts[at.place]);
  nodes[0].append(state.pinned ? el("span", "pinned", "pinned") : "", close);
  state.card.setAttribute("aria-label", `About token ${token.i}`);
  state.card.replaceChildren(...nodes);
  state.card.scrollTop = 0;
  if (focus) node.focus();
}

function pin(node) {
  state.pinned = true;
  show(placeOf(node));
  node.scrollIntoView({ block: "nearest" }); // the sheet of a narrow page must not lie over it
  trigger?.("pick", { trace: state.at.trace, i: state.traces[state.at.trace].tokens[state.at.place].i });
}

const tokenAt = (event) => event.target.closest?.(".tok") ?? null;

frame.addEventListener("pointerover", (event) => {
  const node = tokenAt(event);
  if (node && !state.pinned && event.pointerType !== "touch") show(placeOf(node));
});
frame.addEventListener("focusin", (event) => {
  const node = tokenAt(event);
  if (node && state.at && tokenNode(state.at) === node) return;
  if (node) show(placeOf(node));
});
frame.addEventListener("click", (event) => {
  const node = tokenAt(event);
  if (!node) return;
  const again = state.pinned && tokenNode(state.at) === node;
  node.focus({ preventScroll: true });
  if (again) { state.pinned = false; show(placeOf(node)); } else pin(node);
});

/* --- light or dark: what is really behind the strip decides, not what the system prefers --- */

function theme() {
  for (let node = element; node; node = node.parentElement ?? node.getRootNode().host) {
    const [r, g, b, a = 1] = (getComputedStyle(node).backgroundColor.match(/[\d.]+/g) ?? []).map(Number);
    if (a > 0.5 && b !== undefined) return 0.2126 * r + 0.7152 * g + 0.0722 * b < 128 ? "dark" : "light";
  }
  return matchMedia("(prefers-color-scheme: dark)").matches && getComputedStyle(document.documentElement).colorScheme.includes("dark") ? "dark" : "light";
}

const applyTheme = () => { frame.dataset.theme = theme(); };
const watcher = new MutationObserver(applyTheme);
for (const node of [document.documentElement, document.body]) {
  watcher.observe(node, { attributes: true, attributeFilter: ["class", "style", "data-theme", "data-jp-theme-light"] });
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", applyTheme);

function drawSafely() {
  try {
    draw();
  } catch (error) {
    // never a blank component: the text that was there without scripts comes back
    frame.replaceChildren(el("p", "note", `The strip could not be drawn: ${error?.message ?? error}`), el("slot"));
  }
}
applyTheme(); // before there is anything that a look at computed styles would have to lay out
drawSafely();
watch?.("value", drawSafely);
