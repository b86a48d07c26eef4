/* The token strip. Body of a function (element, props, trigger, watch), put together by
   views/strip.py out of this file and its neighbours; docs of props and events are there.
   Everything is built with createElement and text nodes inside a shadow root; no ids, no globals. */

const PAGE = 5000; /* tokens drawn at once; more on request */
const root = element.shadowRoot ?? element.attachShadow({ mode: "open" });
const style = el("style");
style.textContent = CSS;
const frame = el("div", "skd");
root.replaceChildren(style, frame);

/* What is looked at and how: from the host's props first, then from the user. */
const view = { k: null, colour: "rank", layout: "inline", highlight: null, all: false, predict: false };
let state = null;

const emit = (name, payload) => trigger?.(name, payload);
const hostDoes = (name) => list(props.actions).includes(name);

function draw(text) {
  const before = state?.at ?? null, kept = state?.pinned ?? false;
  const focused = root.activeElement?.closest(".tok") != null;
  const reader = newReader();
  state = null; // should anything below throw, the next value starts afresh
  readMore(reader, text);
  if (reader.rest.trim() && !watch && !props.streaming) reader.notes.push("The last line was cut off and is left out.");
  const { traces } = reader;
  const fresh = { reader, traces, strips: [], at: null, pinned: false, card: el("aside", "card"), notes: el("div", "notes"), main: el("div", "main") };
  state = fresh;
  // another run: what if and guesses were about the old one
  setK(finite(props.k) >= 1 ? Math.floor(props.k) : null, true);
  view.predict = Boolean(props.predict);
  state.card.setAttribute("role", "region");
  state.card.tabIndex = 0;
  state.status = el("p", "spoken");
  state.status.setAttribute("role", "status");
  if (props.title) state.main.append(el("h2", "head2", clean(props.title)));
  state.main.append(state.notes);
  drawNotes();
  if (traces.length && props.controls !== false) state.main.append(controls());
  traces.forEach((trace, index) => state.main.append(section(trace, index)));
  if (traces.length) state.main.append(keysLine());
  frame.replaceChildren(el("div", "layout", state.main, state.card), state.status);
  applyView();
  clear();
  if (before && (tokenNode(before) || focused)) {
    show(tokenNode(before) ? before : { trace: 0, place: 0 }, focused);
    state.pinned = kept;
  }
  say(true);
}

/* More lines of the same text: what is drawn stays as it is. */
function extend(text) {
  const { reader, traces } = state, had = traces.length, seen = reader.notes.length;
  readMore(reader, text);
  if (reader.notes.length !== seen || !had) drawNotes();
  for (let index = Math.max(0, had - 1); index < traces.length; index += 1) {
    if (index < had) grow(index);
    else state.main.insertBefore(section(traces[index], index), state.main.querySelector(":scope > .keys"));
  }
  settle();
}

/* Counts and controls follow the text; while it is written, ten times a second at most. */
function settle() {
  const own = state, work = () => {
    own.settling = null;
    if (own !== state) return;
    state.traces.forEach((_, index) => tell(index));
    syncControls();
    say();
  };
  if (!props.streaming) { clearTimeout(own.settling); work(); }
  else own.settling ??= setTimeout(work, 100);
}

function drawNotes() {
  const { traces, reader } = state;
  const quiet = !traces.length && !reader.notes.length, words = !quiet ? reader.notes
    : [props.streaming ? "Waiting for the first token." : "Nothing recorded yet: there is no trace to show."];
  state.notes.replaceChildren(...words.map((note) => el("p", quiet ? "note quiet" : "note", clean(note))));
}

/* A screen reader hears of a growing text every two seconds, not at every token. */
function say(now = false) {
  clearTimeout(state.timer);
  const own = state, write = () => {
    const tokens = own.traces.reduce((sum, trace) => sum + trace.tokens.length, 0);
    const replaced = own.strips.reduce((sum, one) => sum + one.decided.replaced, 0);
    own.status.textContent = `${tokens} tokens, ${replaced} replaced${props.streaming ? ", still writing" : ""}`;
    own.spokenAt = Date.now();
  };
  const wait = now ? 0 : Math.max(0, 2000 - (Date.now() - (own.spokenAt ?? 0)));
  if (wait) own.timer = setTimeout(write, wait);
  else write();
}

/* --- one trace --- */

function traceName(header, index) {
  if (header.label) return clean(header.label);
  const step = header.run ? finite(header.step) : null;
  return [header.method && clean(header.method), step === null ? null : step === 0 ? "before training" : `after step ${step}`].filter(Boolean).join(" · ") || `Trace ${index + 1}`;
}

function section(trace, index) {
  const header = trace.header, limit = limitWords(header), box = el("section", "trace");
  const text = el("div", "strip");
  const own = {
    index, box, text, nodes: [], parts: keptPieces(trace.tokens), shown: 0, limit: PAGE, active: 0,
    labels: [], decided: decide(trace, view.k), guesses: new Set(), legend: el("ul", "legend"), sum: el("p", "sum"), whatIf: el("div", "whatif"), table: el("div", "sheet"),
  };
  state.strips[index] = own;
  box.append(el("h3", "name", traceName(header, index)));
  const facts = [
    header.student && `student ${clean(header.student)}`, header.teacher && `teacher ${clean(header.teacher)}`,
    header.rule === "lossless" ? "lossless speculative sampling" : limit && `accepts the teacher’s top K\u00a0=\u00a0${limit}`,
    (finite(header.gamma) && `drafts of γ\u00a0=\u00a0${header.gamma}`) || (header.gamma === "adaptive" && "drafts of adaptive length"), header.finished === false && "cut at the length limit",
  ];
  box.append(el("p", "facts", facts.filter(Boolean).join(" · ")));
  if (header.note) box.append(el("p", "facts", clean(header.note)));
  if (header.prompt) {
    const prompt = String(header.prompt);
    /* one line without a chat template's markers; unfolded, the prompt is there as it was */
    const start = prompt.replace(/<\|\w*\|>/g, " ").replace(/\s+/g, " ").slice(0, 160);
    const summary = el("summary", "", el("b", "", "Prompt"), paint(el("span"), [["text", " "], ...pieces(start)]));
    box.append(el("details", "prompt", summary, paint(el("div"), pieces(prompt), true)));
  }
  text.setAttribute("role", "listbox");
  text.setAttribute("aria-label", `Tokens of ${traceName(header, index)}`);
  text.setAttribute("aria-orientation", "horizontal");
  box.append(own.legend, own.sum, own.whatIf, text, own.table);
  if (!trace.tokens.length && !props.streaming) box.append(el("p", "note", "This completion has no tokens."));
  more(index);
  tell(index);
  return box;
}

const RTL = /[\p{Script=Hebrew}\p{Script=Arabic}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}]/u;

/* Draw tokens up to the page's end. They are filled before they are attached. */
function more(index) {
  const trace = state.traces[index], own = state.strips[index], until = Math.min(trace.tokens.length, own.limit);
  const fragment = document.createDocumentFragment(), blank = el("span");
  blank.setAttribute("role", "option");
  blank.setAttribute("aria-selected", "false");
  blank.tabIndex = -1;
  blank.dataset.trace = `${index}`;
  for (let place = own.shown; place < until; place += 1) {
    const node = blank.cloneNode(false);
    node.dataset.place = `${place}`;
    own.nodes.push(node);
    fill(trace, own, place);
    fragment.append(node);
    if (!own.text.dir) {
      // set once: dir="auto" would be resolved again for every token
      const strong = /\p{L}/u.exec(trace.tokens[place].kept);
      if (strong) own.text.dir = RTL.test(strong[0]) ? "rtl" : "ltr";
    }
  }
  own.shown = until;
  own.text.append(fragment);
  if (own.nodes.length) own.nodes[own.active].tabIndex = 0;
  own.box.querySelector(".more")?.remove();
  if (until < trace.tokens.length) {
    own.text.after(button("more", `Show more: ${whole(until)} of ${whole(trace.tokens.length)} tokens are drawn`, () => { own.limit += PAGE; more(index); tell(index); }));
  }
}

/* New tokens of a trace. Bytes that were open at its end may have become a character. */
function grow(index) {
  const trace = state.traces[index], own = state.strips[index], had = own.parts.length;
  if (trace.tokens.length === had) return;
  const start = decodeStart(trace.tokens, had), parts = keptPieces(trace.tokens.slice(start));
  own.decided = decide(trace, view.k, own.decided);
  for (let place = start; place < had; place += 1) {
    const before = JSON.stringify(own.parts[place]);
    own.parts[place] = parts[place - start];
    if (place < own.shown && before !== JSON.stringify(own.parts[place])) fill(trace, own, place);
  }
  own.parts.push(...parts.slice(had - start));
  more(index);
}

const SPECIAL = /^<\|[^<>|]*\|>$|^<\/?(s|eos|bos|pad|unk|start_of_turn|end_of_turn)>$/;

function classNameOf(trace, own, place) {
  const token = trace.tokens[place], { verdicts, fork } = own.decided, verdict = verdicts[place];
  let name = SPECIAL.test(token.kept) ? "tok special" : "tok";
  if (view.predict) return `${name} ${verdict === "plain" ? "plain" : "guess"}${own.guesses.has(place) ? " marked" : ""}`;
  name += ` ${verdict} ${shadeOf(token, verdict, view.colour)}`;
  if (own.guesses.has(place)) name += " marked";
  if (fork !== null && place >= fork) name += place === fork ? " fork" : " hatched";
  if (verdict !== recorded(token) && !isGiven(trace)) name += " flipped";
  if (trace.header.diverges_at === token.i) name += " parting";
  if (view.highlight && isLit(token, own.index)) name += " lit";
  return name;
}

function isLit(token, index) {
  const { rank, tokens } = view.highlight;
  if (Array.isArray(rank)) return token.teacher_rank >= rank[0] && token.teacher_rank <= rank[1];
  return list(tokens).some((one) => one?.[0] === index && one?.[1] === token.i);
}

/* What a token's node holds; its node stays the same. */
function fill(trace, own, place) {
  const node = own.nodes[place], token = trace.tokens[place], now = standing(trace, place, own);
  node.className = classNameOf(trace, own, place);
  node.replaceChildren();
  const kept = now.parts.length ? now.parts : [["chip", `id ${token.kept_id}`]], proposed = now.verdict === "replaced" ? proposedPieces(token) : [];
  if (view.predict && now.verdict !== "plain") {
    paint(node, now.verdict === "replaced" ? proposed : kept, true);
    node.setAttribute("aria-label", `token ${token.i}: proposed ${spoken(now.verdict === "replaced" ? proposed : kept)}`);
    return;
  }
  own.labels[place] = label(now, proposed);
  node.setAttribute("aria-label", own.labels[place] + (now.uncertain ? UNSURE : ""));
  if (now.verdict === "replaced") {
    node.append(paint(el("del", "del"), proposed.length ? proposed : [["chip", `id ${token.proposed_id}`]]), paint(el("ins", "ins"), kept, true));
  } else {
    paint(node, kept, true);
  }
  const thrown = list(token.discarded);
  if (!thrown.length) return;
  const ghosts = el("span", "ghosts");
  ghosts.setAttribute("aria-hidden", "true");
  thrown.forEach((entry) => paint(ghosts, lonePieces(entry?.[1], entry?.[2])));
  node.append(ghosts);
}

/* Another K, colour or highlight: classes change, and the insides of what was decided otherwise. */
function recolour() {
  state.traces.forEach((trace, index) => {
    const own = state.strips[index], before = own.decided;
    if (before.k !== view.k) own.decided = decide(trace, view.k);
    const { verdicts, fork } = own.decided, unsure = (one, place) => one !== null && place > one;
    for (let place = 0; place < own.shown; place += 1) {
      if (verdicts[place] !== before.verdicts[place] || own.labels[place] === undefined) { fill(trace, own, place); continue; }
      if (unsure(fork, place) !== unsure(before.fork, place)) own.nodes[place].setAttribute("aria-label", own.labels[place] + (unsure(fork, place) ? UNSURE : ""));
      const name = classNameOf(trace, own, place);
      if (own.nodes[place].className !== name) own.nodes[place].className = name;
    }
    tell(index);
  });
  syncControls();
  if (state.at) showAgain();
}
