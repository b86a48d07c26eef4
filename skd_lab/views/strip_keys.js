/* The keyboard: one tab stop a strip, then arrows, Home, End, n and p (refusals), [ and ] (draft
   blocks), k and K (the slider), b (branch), Enter, Escape and ? (this list). */

const KEYS = [["← → ↑ ↓", "move"], ["Home End", "first, last"], ["n p", "next, previous refusal"], ["] [", "next, previous draft block"],
  ["k K", "lower, raise K"], ["Enter", "pin the card"], ["Esc", "let go"], ["b", "branch here"], ["?", "show or hide this"]];

function keysLine() {
  const line = el("details", "keys", el("summary", "", "Keys"));
  line.append(el("p", "", ...KEYS.flatMap(([keys, words]) => [el("span", "", ...keys.split(" ").map((key) => el("kbd", "", key)), ` ${words}`)])));
  return line;
}

/* The token above or below. A token may be broken over two lines: its first part counts. */
function lineNeighbour(node, down) {
  const middle = (one) => {
    const box = one.getClientRects()[0] ?? one.getBoundingClientRect();
    return { x: (box.left + box.right) / 2, y: (box.top + box.bottom) / 2 };
  };
  const from = middle(node);
  let best = null, line = null, gap = Infinity;
  for (let next = node; (next = down ? next.nextElementSibling : next.previousElementSibling);) {
    const at = middle(next);
    if (Math.abs(at.y - from.y) < 8) continue;
    line ??= at.y;
    if (Math.abs(at.y - line) > 8) break;
    if (Math.abs(at.x - from.x) < gap) { gap = Math.abs(at.x - from.x); best = next; }
  }
  return best;
}

function jump(node, forward, wanted) {
  for (let next = node; (next = forward ? next.nextElementSibling : next.previousElementSibling);) if (wanted(next)) return next;
  return null;
}

function target(node, key) {
  const rtl = node.parentElement.dir === "rtl", block = (one) => state.traces[one.dataset.trace].tokens[one.dataset.place].block;
  const refused = (one) => !view.predict && one.classList.contains("replaced");
  switch (key) {
    case "ArrowRight": return rtl ? node.previousElementSibling : node.nextElementSibling;
    case "ArrowLeft": return rtl ? node.nextElementSibling : node.previousElementSibling;
    case "ArrowDown": return lineNeighbour(node, true);
    case "ArrowUp": return lineNeighbour(node, false);
    case "Home": return node.parentElement.firstElementChild;
    case "End": return node.parentElement.lastElementChild;
    case "n": return jump(node, true, refused);
    case "p": return jump(node, false, refused);
    case "]": return jump(node, true, (one) => block(one) !== block(node));
    case "[": return jump(node, false, (one) => block(one) !== block(node));
    default: return undefined;
  }
}

/* From a token to the table in the card whose tokens are the ways to branch. */
function toBranches(node) {
  pin(node);
  (state.card.querySelector(".branch") ?? state.card).focus();
}

frame.addEventListener("keydown", (event) => {
  const node = tokenAt(event);
  if (event.ctrlKey || event.metaKey || event.altKey || !state) return;
  const menu = event.target.closest?.("details.menu[open]");
  let next; // undefined: none of our keys; null: our key, but nowhere to go
  if (event.key === "Escape" && menu) { menu.open = false; menu.querySelector("summary").focus(); next = null; }
  else if (event.key === "Escape" && state.at) {
    const back = state.card.contains(root.activeElement) ? tokenNode(state.at) : null;
    clear();
    if (back) { back.focus({ preventScroll: true }); clear(); }
    next = null;
  }
  else if (!node) return;
  else if (event.key === "Enter" || event.key === " ") { pin(node); next = null; }
  else if (event.key === "b") { toBranches(node); next = null; }
  else if (event.key === "k" || event.key === "K") { stepK(event.key === "K"); next = null; }
  else if (event.key === "?") { const line = frame.querySelector(".keys"); line.open = !line.open; next = null; }
  else next = target(node, event.key);
  if (next === undefined) return;
  event.preventDefault();
  event.stopPropagation();
  if (!next) return;
  const at = placeOf(next);
  if (!state.pinned) show(at);
  else { state.pinned = false; show(at); emit("unpick", {}); }
  next.focus();
});
// a notebook takes keys before the page does; this asks it to leave ours alone
element.setAttribute("data-lm-suppress-shortcuts", "true");
