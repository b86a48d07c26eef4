/* Tells the page when the part of the address behind "#" has changed. */
const root = element.shadowRoot ?? element.attachShadow({ mode: "open" });
root.replaceChildren();
window.addEventListener("hashchange", () => trigger("moved"));
