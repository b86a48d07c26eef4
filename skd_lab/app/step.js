/* The step player: a trace replayed as it was made. Body of a function (element, props, trigger, watch); parts.py puts
   the strip's style and text functions before it. props.value: NDJSON of one trace. Nothing here asks the server. */
const root = element.shadowRoot ?? element.attachShadow({ mode: "open" });
const sheet = el("style");
sheet.textContent = CSS + STEP_CSS;
const box = el("div", "skd step");
root.replaceChildren(sheet, box);
const SPEEDS = [[0.5, "slow"], [1, "normal"], [2, "fast"], [5, "very fast"]];
let show = null;

/* --- a trace to moments --- */

function readTrace(text) {
  let header = null;
  const tokens = [];
  for (const line of String(text ?? "").split("\n")) {
    let record = null;
    try { record = JSON.parse(line); } catch { continue; }
    if (record?.schema) { if (header) break; header = record; } else if (header && typeof record?.kept === "string") tokens.push(record);
  }
  return header && tokens.length ? { header, tokens } : null;
}

/* Blocks of tokens that one look of the teacher judged. */
function blocks(tokens) {
  const out = [];
  tokens.forEach((token, i) => {
    const last = out[out.length - 1];
    if (last && token.block >= 0 && tokens[last.end - 1].block === token.block) last.end = i + 1;
    else out.push({ start: i, end: i + 1 });
  });
  return out;
}

function momentsOf(trace) {
  const moments = [];
  blocks(trace.tokens).forEach((block, number) => {
    const own = trace.tokens.slice(block.start, block.end), looks = number + 1;
    const proposed = own.filter((token) => token.proposed_id >= 0 && token.teacher_rank > 0);
    if (proposed.length) moments.push({ kind: "propose", block, at: block.start, looks: number });
    own.forEach((token, n) => {
      const at = block.start + n;
      if (isReplaced(token)) moments.push({ kind: "refuse", block, at, looks }, { kind: "replace", block, at, looks });
      else if (isAccepted(token)) moments.push({ kind: "accept", block, at, looks });
      else moments.push({ kind: "alone", block, at, looks });
    });
  });
  moments.push({ kind: "end", block: { start: trace.tokens.length, end: trace.tokens.length }, at: trace.tokens.length, looks: moments.at(-1)?.looks ?? 0 });
  return moments;
}

const limitOf = (header, i) => { const k = header.accept_top_k; return finite(Array.isArray(k) ? k[Math.min(i, k.length - 1)] : k); };
const draftOf = (trace, block) => {
  const own = trace.tokens.slice(block.start, block.end), out = [];
  own.forEach((token, n) => {
    if (token.proposed_id >= 0 && token.teacher_rank > 0) out.push({ at: block.start + n, parts: proposedPieces(token) });
    list(token.discarded).forEach((entry) => out.push({ at: null, parts: lonePieces(entry?.[1], entry?.[2]) }));
  });
  return out;
};

/* --- words --- */

function sentence(trace, moment) {
  const token = trace.tokens[moment.at], limit = limitOf(trace.header, moment.at), said = el("p", "said");
  const beside = limit === null ? "" : `K\u00a0=\u00a0${whole(limit)}`;
  if (moment.kind === "propose") {
    const n = draftOf(trace, moment.block).length;
    said.append(el("b", "", "The student proposes "), n === 1 ? "one token." : `${n} tokens, one after another, without asking.`);
  } else if (moment.kind === "accept") {
    said.append(el("b", "", "Kept. "), "For the teacher ", quote(proposedPieces(token)), ` is its ${ordinal(token.teacher_rank)} choice`,
      trace.header.rule === "lossless" ? ", and the rule let it stand." : `, and ${beside} lets its first ${limit === 1 ? "choice" : whole(limit ?? 0)} pass.`);
  } else if (moment.kind === "refuse") {
    said.append(el("b", "no", "Refused. "), "For the teacher ", quote(proposedPieces(token)), ` is only its ${ordinal(token.teacher_rank)} choice`,
      trace.header.rule === "lossless" ? ", and the rule refused it." : `; ${beside} is the limit.`);
  } else if (moment.kind === "replace") {
    const thrown = list(token.discarded).length;
    said.append(el("b", "", "The teacher writes "), quote(lonePieces(token.kept, token.kept_bytes)), " instead.",
      thrown ? ` What the student had proposed behind it (${thrown}) is thrown away: it continued another text.` : "");
  } else if (moment.kind === "alone") {
    const who = { student: "The student", teacher: "The teacher" }[token.source] ?? "The reference";
    said.append(el("b", "", `${who} writes `), quote(lonePieces(token.kept, token.kept_bytes)), ". Nothing was judged here.");
  } else {
    said.append(el("b", "", "The end. "), trace.header.finished === false ? "The text was cut at its length limit." : "The text is complete.");
  }
  return said;
}

function tally(trace, moment) {
  const past = trace.tokens.slice(0, moment.kind === "refuse" || moment.kind === "propose" ? moment.at : moment.at + 1);
  const refused = past.filter(isReplaced).length, kept = past.filter(isAccepted).length;
  const thrown = past.reduce((sum, token) => sum + list(token.discarded).length, 0);
  const facts = [["tokens in the text", past.length], ["proposals kept", kept], ["refused", refused], ["thrown away", thrown], ["looks by the teacher", moment.looks]];
  return el("dl", "tally", ...facts.map(([name, n]) => el("div", "", el("dt", "", name), el("dd", "", `${n}`))));
}

/* The teacher's own list at this place, with the line that K draws and the proposal's place. */
function favourites(trace, moment) {
  if (!["accept", "refuse", "replace"].includes(moment.kind)) return null;
  const token = trace.tokens[moment.at], top = list(token.teacher_top), limit = limitOf(trace.header, moment.at);
  if (!top.length) return null;
  const table = el("table", "", el("caption", "", "What the teacher would rather have said here")), body = el("tbody");
  const row = (rank, parts, p, mark) => {
    const bar = el("div", "bar");
    bar.style.width = `${(100 * Math.max(0, Math.min(1, finite(p) ?? 0))).toFixed(1)}%`;
    const line = el("tr", mark, el("td", "rank", `${whole(rank)}.`), el("td", "word", paint(el("span"), parts)), el("td", "chance", bar, el("span", "", percent(p))));
    if (limit !== null && rank === limit && trace.header.rule !== "lossless") line.classList.add("cut");
    body.append(line);
  };
  const last = Math.max(5, Math.min(limit ?? 5, 8));
  top.slice(0, last).forEach((entry, at) => row(at + 1, lonePieces(entry?.[1], entry?.[2]), entry?.[2],
    entry?.[0] === token.proposed_id ? "proposal" : moment.kind === "replace" && entry?.[0] === token.kept_id ? "kept" : ""));
  if (token.teacher_rank > last) row(token.teacher_rank, proposedPieces(token), token.proposed_p_teacher, "proposal far");
  table.append(body);
  return table;
}

/* --- drawing --- */

function textNode(trace, moment) {
  const text = el("div", "sofar"), tokens = trace.tokens, parts = show.parts;
  const settled = ["propose", "accept", "refuse"].includes(moment.kind) ? moment.block.start : moment.at + (moment.kind === "end" ? 0 : 1);
  for (let i = 0; i < settled; i += 1) {
    text.append(paint(el("span", isReplaced(tokens[i]) ? "was teacher" : "was"), parts[i], true));
  }
  if (["propose", "accept", "refuse"].includes(moment.kind)) {
    draftOf(trace, moment.block).forEach((one) => {
      const judged = one.at !== null && moment.kind !== "propose" && one.at <= moment.at;
      const name = !judged ? "draft" : one.at === moment.at ? (moment.kind === "refuse" ? "draft refused now" : "draft kept now") : "draft kept";
      text.append(paint(el("span", name), one.parts, true));
    });
  } else if (moment.kind === "replace") {
    text.lastChild.classList.add("now");
    list(tokens[moment.at].discarded).forEach((entry) => text.append(paint(el("span", "draft gone"), lonePieces(entry?.[1], entry?.[2]), true)));
  } else if (moment.kind === "alone") text.lastChild.classList.add("now");
  return text;
}

function draw() {
  const { trace, moments, at } = show, moment = moments[at];
  show.scrub.value = `${at}`;
  const words = `Step ${at + 1} of ${moments.length}`;
  show.scrub.setAttribute("aria-valuetext", words);
  show.count.textContent = words;
  const text = textNode(trace, moment);
  text.dir = show.dir;
  show.stage.replaceChildren(text);
  const said = sentence(trace, moment);
  show.told.replaceChildren(said);
  show.told.setAttribute("aria-live", show.timer ? "off" : "polite");
  show.side.replaceChildren(...[tally(trace, moment), favourites(trace, moment)].filter(Boolean));
  show.back.disabled = show.first.disabled = at === 0;
  show.next.disabled = show.last.disabled = at === moments.length - 1;
  show.play.textContent = show.timer ? "Pause" : at === moments.length - 1 ? "Play again" : "Play";
}

function pause() { clearInterval(show.timer); show.timer = null; }
function go(at) { show.at = Math.max(0, Math.min(show.moments.length - 1, at)); draw(); }
function step(by) { pause(); go(show.at + by); }
function start() {
  pause();
  show.timer = setInterval(() => {
    if (!element.isConnected) return pause();
    if (show.at >= show.moments.length - 1) { pause(); return draw(); }
    if (show.at + 1 >= show.moments.length - 1) pause();
    go(show.at + 1);
  }, 1400 / Number(show.speed.value));
  go(show.at === show.moments.length - 1 ? 0 : show.at);
}
function toggle() { if (show.timer) { pause(); draw(); } else start(); }

function open() {
  if (show) pause();
  const trace = readTrace(props.value);
  if (!trace) { show = null; box.replaceChildren(el("p", "note", "There is no recorded text to step through yet. Choose one above, or write one in the tab Watch.")); return; }
  const press = (words, label, act) => { const node = button("", words, act); node.setAttribute("aria-label", label); return node; };
  show = { trace, moments: momentsOf(trace), at: 0, timer: null, parts: keptPieces(trace.tokens),
    stage: el("div", "stage"), told: el("div", "told"), side: el("div", "side"), count: el("span", "count"),
    first: press("«", "First step", () => step(-Infinity)), back: press("‹", "One step back", () => step(-1)),
    play: button("play", "Play", toggle), next: press("›", "One step on", () => step(1)), last: press("»", "Last step", () => step(Infinity)),
    speed: el("select"), scrub: el("input") };
  const letters = /\p{L}/u.exec(trace.tokens.map((token) => token.kept).join(""));
  show.dir = letters && /[\p{Script=Hebrew}\p{Script=Arabic}]/u.test(letters[0]) ? "rtl" : "ltr";
  SPEEDS.forEach(([value, words]) => { const one = el("option", "", words); one.value = `${value}`; one.selected = value === 1; show.speed.append(one); });
  show.speed.addEventListener("change", () => { if (show.timer) start(); });
  show.scrub.type = "range";
  show.scrub.max = `${show.moments.length - 1}`;
  show.scrub.setAttribute("aria-label", "Step");
  show.scrub.addEventListener("input", () => { pause(); go(Number(show.scrub.value)); });
  const speed = el("label", "speed", "Speed ", show.speed);
  box.replaceChildren(el("div", "controls", show.first, show.back, show.play, show.next, show.last, speed, show.scrub, show.count),
    el("div", "columns", el("div", "", show.told, show.stage), show.side),
    el("p", "keys", el("kbd", "", "← →"), " step  ", el("kbd", "", "Space"), " play or pause  ", el("kbd", "", "Home"), " ", el("kbd", "", "End"), " first, last"));
  draw();
}

box.addEventListener("keydown", (event) => {
  if (!show || event.ctrlKey || event.metaKey || event.altKey || event.target === show.speed) return;
  const keys = { ArrowRight: () => step(1), ArrowLeft: () => step(-1), Home: () => step(-Infinity), End: () => step(Infinity) };
  const act = event.key === " " && event.target.tagName !== "BUTTON" ? toggle : keys[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

/* gradio marks a dark page on its body */
const applyTheme = () => { box.dataset.theme = document.body.classList.contains("dark") ? "dark" : "light"; };
new MutationObserver(applyTheme).observe(document.body, { attributes: true, attributeFilter: ["class"] });
applyTheme();

let drawn = null;
function openSafely() {
  if (props.value === drawn) return; /* the page looks its text up anew when it is loaded */
  drawn = props.value;
  try { open(); } catch (error) { show = null; box.replaceChildren(el("p", "note", `This text cannot be replayed: ${error?.message ?? error}`)); }
}
openSafely();
watch("value", openSafely);
