/* trigger("moved") when the part of the address behind "#" names another tab than the open one. */
const root = element.shadowRoot ?? element.attachShadow({ mode: "open" });
root.replaceChildren();
const wanted = () => location.hash.slice(1).split(/[&?]/)[0];
const names = (tab) => document.querySelector(`[role="tab"][data-tab-id="${CSS.escape(tab)}"]`);
window.addEventListener("hashchange", () => trigger("moved"));
/* the page may not have its tabs yet when it first looks at the address */
let tries = 0;
const timer = setInterval(() => {
  const tab = wanted() ? names(wanted()) : null;
  tries += 1;
  if (tries > 50 || !wanted() || tab?.getAttribute("aria-selected") === "true") clearInterval(timer);
  else trigger("moved");
}, 100);
