/* Which token the card shows: hover, focus and tap are one path. */

const tokenNode = (at) => state?.strips[at.trace]?.nodes[at.place] ?? null;
const placeOf = (node) => ({ trace: Number(node.dataset.trace), place: Number(node.dataset.place) });
const tokenAt = (event) => event.target.closest?.(".tok") ?? null;

function clear() {
  const was = state.pinned;
  if (state.at) tokenNode(state.at)?.setAttribute("aria-selected", "false");
  state.at = null;
  state.pinned = false;
  state.card.setAttribute("aria-label", "About a token");
  state.card.replaceChildren(el("p", "empty", el("b", "", "Point at a token, tap it, or walk with the arrow keys. "),
    "This card then shows what the student proposed, how the teacher ranked it, and both models’ most likely tokens on one scale."));
  if (was) emit("unpick", {});
}

function show(at, focus = false) {
  const node = tokenNode(at), own = state.strips[at.trace];
  if (!node || view.predict) return;
  if (state.at) tokenNode(state.at)?.setAttribute("aria-selected", "false");
  state.at = at;
  node.setAttribute("aria-selected", "true");
  rove(own, at.place);
  drawCard();
  state.card.scrollTop = 0;
  if (focus) node.focus({ preventScroll: true });
}

/* One tab stop a strip: the token that was last in focus. */
function rove(own, place) {
  own.nodes[own.active].tabIndex = -1;
  own.active = place;
  own.nodes[place].tabIndex = 0;
}

function drawCard() {
  const { at } = state, trace = state.traces[at.trace], own = state.strips[at.trace];
  const close = button("close", "✕", () => { const node = tokenNode(state.at); clear(); node.focus({ preventScroll: true }); clear(); });
  close.setAttribute("aria-label", "Close the card");
  const nodes = cardNodes(trace, at.trace, at.place, own);
  nodes[0].append(state.pinned ? el("span", "pinned", "pinned") : "", close);
  state.card.setAttribute("aria-label", `About token ${trace.tokens[at.place].i}`);
  state.card.replaceChildren(...nodes);
}

/* The same card anew; focus comes back to what had it. */
function showAgain(wanted) {
  const focused = root.activeElement, inCard = state.card.contains(focused);
  drawCard();
  if (inCard) (wanted ? state.card.querySelector(wanted) : state.card)?.focus();
}

function pin(node) {
  if (view.predict) { guess(node); return; }
  state.pinned = true;
  show(placeOf(node));
  node.scrollIntoView({ block: "nearest" }); // the sheet of a narrow page must not lie over it
  const { trace, place } = state.at;
  emit("pick", { trace, i: state.traces[trace].tokens[place].i });
  savePlace();
}

frame.addEventListener("pointerover", (event) => {
  const node = tokenAt(event);
  if (node && !state.pinned && event.pointerType !== "touch") show(placeOf(node));
});
frame.addEventListener("focusin", (event) => {
  const node = tokenAt(event);
  if (!node || (state.at && tokenNode(state.at) === node)) return;
  if (view.predict) { const at = placeOf(node); rove(state.strips[at.trace], at.place); return; }
  show(placeOf(node));
});
frame.addEventListener("click", (event) => {
  const node = tokenAt(event);
  if (!node) return;
  const again = state.pinned && tokenNode(state.at) === node;
  node.focus({ preventScroll: true });
  if (again) { state.pinned = false; show(placeOf(node)); emit("unpick", {}); } else pin(node);
});

// a menu closes when something else is pressed
frame.addEventListener("pointerdown", (event) => {
  frame.querySelectorAll("details.menu[open]").forEach((menu) => { if (!menu.contains(event.target)) menu.open = false; });
});

/* Pin what the host or the address asks for: [trace, i], "trace:i" or i of the first trace. */
function select(wanted) {
  const pair = Array.isArray(wanted) ? wanted : String(wanted).split(":").map(Number);
  const [trace, i] = pair.length > 1 ? pair : [0, pair[0]];
  const place = state.traces[trace]?.tokens.findIndex((token) => token.i === i) ?? -1;
  if (place < 0 || view.predict) return;
  const own = state.strips[trace];
  while (place >= own.shown) { own.limit += PAGE; more(trace); }
  state.pinned = true;
  show({ trace, place });
}
