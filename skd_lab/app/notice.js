/* A sentence beside a control. props.value: plain text; props.tone: plain, good or bad. */
const root = element.shadowRoot ?? element.attachShadow({ mode: "open" });
const style = document.createElement("style");
style.textContent = `
  p { margin: 0; padding: 0.5rem 0.8rem; border-radius: 8px; border-inline-start: 4px solid var(--border-color-primary);
    background: var(--background-fill-secondary); color: var(--body-text-color); font: 400 0.9375rem/1.45 var(--font, sans-serif);
    white-space: pre-wrap; overflow-wrap: anywhere; }
  p.bad { border-color: #b3261e; font-weight: 500; }
  p.good { border-color: #2c68b0; }
  p:empty { display: none; }`;
const calm = document.createElement("p"), urgent = document.createElement("p");
calm.setAttribute("role", "status");
urgent.setAttribute("role", "alert");
urgent.className = "bad";
root.replaceChildren(style, calm, urgent);

let timer = null, last = 0;
function write() {
  const text = String(props.value ?? ""), bad = props.tone === "bad";
  urgent.textContent = bad ? text : "";
  calm.className = props.tone === "good" ? "good" : "";
  clearTimeout(timer);
  const put = () => { last = Date.now(); calm.textContent = bad ? "" : text; };
  /* a counter that runs is seen at once, but would be read out without end: twice a second is enough */
  if (!text || bad || Date.now() - last > 500) put(); else timer = setTimeout(put, 500);
}
write();
watch(["value", "tone"], write);
