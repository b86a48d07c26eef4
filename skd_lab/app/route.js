/* Every tab has an address: the part behind "#", up to "?". A chosen tab writes it, and an address opens its tab. All
   in the page: gradio reports chosen tabs late and not always in order. */
const root = element.shadowRoot ?? element.attachShadow({ mode: "open" });
root.replaceChildren();
const wanted = () => location.hash.slice(1).split(/[&?]/)[0];
const button = (tab) => document.querySelector(`[role="tab"][data-tab-id="${CSS.escape(tab)}"]`);

document.addEventListener("click", (event) => {
  const tab = event.target.closest?.('[role="tab"][data-tab-id]')?.dataset.tabId;
  if (tab && tab !== wanted()) location.hash = tab;
}, true);

/* the page may not have its tabs yet, or not be listening yet, when it first looks at the address */
let tries = 0, timer = null;
function follow() {
  const tab = wanted() ? button(wanted()) : null;
  tries += 1;
  if (tries > 100 || !wanted() || tab?.getAttribute("aria-selected") === "true") { clearInterval(timer); timer = null; return; }
  tab?.click();
}
function start() {
  clearInterval(timer);
  tries = 0;
  timer = setInterval(follow, 50);
  follow();
}
window.addEventListener("hashchange", start);
start();
