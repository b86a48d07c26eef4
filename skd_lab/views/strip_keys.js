/* The keyboard: one tab stop a strip, then arrows, Home, End, n and p (refusals), [ and ] (draft
   blocks), Enter and Escape. Follows strip.js in the same function. */

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
  switch (key) {
    case "ArrowRight": return rtl ? node.previousElementSibling : node.nextElementSibling;
    case "ArrowLeft": return rtl ? node.nextElementSibling : node.previousElementSibling;
    case "ArrowDown": return lineNeighbour(node, true);
    case "ArrowUp": return lineNeighbour(node, false);
    case "Home": return node.parentElement.firstElementChild;
    case "End": return node.parentElement.lastElementChild;
    case "n": return jump(node, true, (one) => one.classList.contains("replaced"));
    case "p": return jump(node, false, (one) => one.classList.contains("replaced"));
    case "]": return jump(node, true, (one) => block(one) !== block(node));
    case "[": return jump(node, false, (one) => block(one) !== block(node));
    default: return undefined;
  }
}

frame.addEventListener("keydown", (event) => {
  const node = tokenAt(event);
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  let next; // undefined: none of our keys; null: our key, but nowhere to go
  if (event.key === "Escape" && state.at) { clear(); next = null; }
  else if (!node) return;
  else if (event.key === "Enter" || event.key === " ") { pin(node); next = null; }
  else next = target(node, event.key);
  if (next === undefined) return;
  event.preventDefault();
  event.stopPropagation();
  if (next) { show(placeOf(next)); next.focus(); }
});
// a notebook takes keys before the page does; this asks it to leave ours alone
element.setAttribute("data-lm-suppress-shortcuts", "true");
