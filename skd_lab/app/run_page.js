/* A run's page inside this one. props.value: JSON { markup, style }, both made by skd_lab.views, which has
   escaped every text in them. It is parsed as a document of its own, so nothing in it runs; strips and
   pictures are brought to life by the scripts above. */
const root = element.shadowRoot ?? element.attachShadow({ mode: "open" });

function draw() {
  if (!props.value) { root.replaceChildren(); return; }
  const { markup, style: css } = JSON.parse(props.value), style = document.createElement("style");
  const dark = document.body.classList.contains("dark");
  // what the page shows decides, not what the system prefers
  style.textContent = `:host { color: var(--body-text-color); font: 400 1rem/1.6 var(--font, sans-serif); }
    ${css.replaceAll("@media (prefers-color-scheme: dark)", dark ? "@media all" : "@media not all")}
    .skd-report { --page: var(--body-background-fill, #fff); }`;
  const parsed = new DOMParser().parseFromString(markup, "text/html");
  for (const bad of parsed.querySelectorAll("script:not([type='application/json'])")) bad.remove();
  root.replaceChildren(style, ...[...parsed.body.childNodes].map((node) => document.importNode(node, true)));
  for (const link of root.querySelectorAll("a[href^='#']")) {
    link.addEventListener("click", (event) => {
      event.preventDefault(); // the address says which tab is open
      root.getElementById(link.getAttribute("href").slice(1))?.scrollIntoView();
    });
  }
  for (const host of root.querySelectorAll("[data-skd-strip]")) {
    const data = host.querySelector("script[type='application/json']");
    if (data) renderStrip(host, JSON.parse(data.textContent));
  }
  walkPanels({
    querySelectorAll: (what) => root.querySelectorAll(what),
    createElement: (tag) => document.createElement(tag),
    createElementNS: (space, tag) => document.createElementNS(space, tag),
    get activeElement() { return root.activeElement; },
  });
}
draw();
watch("value", draw);
