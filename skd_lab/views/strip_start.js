/* Light or dark, the host's props, the address, and the first drawing. The last part of the body. */

/* What is really behind the strip decides, not what the system prefers. */
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

/* A view that can be linked to: #k=10&colour=kl&layout=stacked&trace=0&i=204; a host's own name of
   a place may stand before it, as in #watch?k=10, and is left as it is. */
const addressParts = () => {
  const hash = location.hash.slice(1), at = hash.indexOf("?");
  if (at >= 0) return [hash.slice(0, at), hash.slice(at + 1)];
  return hash.includes("=") ? ["", hash] : [hash, ""];
};
const [homePlace] = addressParts();

function savePlace() {
  if (!props.permalink || addressParts()[0] !== homePlace) return;
  const place = new URLSearchParams(), at = state.pinned ? state.at : null;
  if (view.k !== null) place.set("k", `${view.k}`);
  if (view.colour !== "rank") place.set("colour", view.colour);
  if (view.layout !== "inline") place.set("layout", view.layout);
  if (at) { place.set("trace", `${at.trace}`); place.set("i", `${state.traces[at.trace].tokens[at.place].i}`); }
  const words = `${place}`, home = homePlace && words ? `${homePlace}?` : homePlace;
  try { history.replaceState(history.state, "", `#${home}${words}`); } catch { /* a frame without an address */ }
}

function fromAddress() {
  const place = new URLSearchParams(addressParts()[1]), number = (name) => (place.get(name) ? Number(place.get(name)) : null);
  const given = {};
  if (number("k") >= 1) given.k = number("k");
  if (place.get("colour")) given.colour = place.get("colour");
  if (place.get("layout")) given.layout = place.get("layout");
  if (number("i") !== null) given.selected = [number("trace") ?? 0, number("i")];
  return given;
}

const TAKE = {
  k: (k) => { setK(finite(k) >= 1 ? Math.floor(k) : null, true); },
  colour: (colour) => { view.colour = Object.hasOwn(CHANNELS, colour) ? colour : "rank"; },
  layout: (layout) => { view.layout = Object.hasOwn(LAYOUTS, layout) ? layout : "inline"; },
  highlight: (wanted) => { view.highlight = wanted && typeof wanted === "object" ? wanted : null; },
};
const given = Object.fromEntries(Object.keys(TAKE).map((name) => [name, "null"]));

function isNew(name) {
  const value = props[name] ?? null, text = typeof value === "string" ? value : JSON.stringify(value);
  if (given[name] === text) return false;
  given[name] = text;
  return true;
}

/* Never a blank component: a value that cannot be drawn is said, and the next one is drawn anew. */
function safely(work) {
  try {
    work();
  } catch (error) {
    state = null;
    const keep = typeof props.value === "string" ? button("plainer", "Save the records", () => download("ndjson", "application/x-ndjson", props.value)) : null;
    frame.replaceChildren(el("p", "note", `The strip could not be drawn: ${error?.message ?? error}`), keep ?? "", el("slot"));
  }
}

function update() {
  safely(() => {
    const text = props.value ?? "";
    if (typeof text !== "string") throw new Error("its value must be NDJSON text");
    const shape = ["title", "controls", "compact"].map(isNew).includes(true), news = isNew("value");
    if (!state || shape || (news && !(state.traces.length && text.startsWith(state.reader.seen)))) draw(text);
    else if (news) extend(text);
    let fresh = false;
    for (const name of Object.keys(TAKE)) if (isNew(name)) { TAKE[name](props[name]); fresh = true; }
    if (isNew("predict") && Boolean(props.predict) !== view.predict) startGuess(Boolean(props.predict));
    if (fresh) { recolour(); applyView(); }
    if (isNew("streaming")) { drawNotes(); settle(); say(true); }
    if (isNew("actions") && state.at) showAgain();
    if (isNew("selected") && props.selected != null) select(props.selected);
  });
}

applyTheme(); // before there is anything that a look at computed styles would have to lay out
update();
if (props.permalink) {
  safely(() => {
    const place = fromAddress();
    for (const name of Object.keys(place)) TAKE[name]?.(place[name]);
    if (Object.keys(place).length) { recolour(); applyView(); }
    if (place.selected) select(place.selected);
  });
}
["value", "title", "controls", "compact", "k", "colour", "layout", "highlight", "predict", "streaming", "actions", "selected"].forEach((name) => watch?.(name, update));
