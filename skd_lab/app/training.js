/* How far a run is. props.value: JSON { going, done, steps, x, loss, replaced }, or "" for nothing. */
const root = element.shadowRoot ?? element.attachShadow({ mode: "open" });
const style = document.createElement("style");
style.textContent = `${CHART_CSS}
  :host { --line-loss: #2c68b0; --line-replaced: #b34a00; }
  :host([data-dark]) { --line-loss: #6aa7ee; --line-replaced: #ff9a4d; }
  .bar { height: 10px; border-radius: 5px; overflow: hidden; background: var(--border-color-primary, #d5dce6); margin: 0 0 1rem; }
  .bar div { height: 100%; background: var(--line-loss); transition: width 0.5s; }
  .both { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr)); gap: 16px 32px; }
  @media (prefers-reduced-motion: reduce) { .bar div { transition: none; } }
`;
const bar = piece("div", "bar", piece("div", "")), both = piece("div", "both");
bar.setAttribute("role", "progressbar");
bar.setAttribute("aria-label", "Updates done");
bar.setAttribute("aria-valuemin", "0");

function draw() {
  element.toggleAttribute("data-dark", document.body.classList.contains("dark"));
  let told = null;
  try { told = props.value ? JSON.parse(props.value) : null; } catch { told = null; }
  if (!told) { root.replaceChildren(style); return; }
  bar.setAttribute("aria-valuemax", `${told.steps}`);
  bar.setAttribute("aria-valuenow", `${told.done}`);
  bar.setAttribute("aria-valuetext", `${told.done} of ${told.steps} updates`);
  bar.firstChild.style.width = `${100 * told.done / told.steps}%`;
  const whole = element.clientWidth || 420, width = whole > 580 ? (whole - 32) / 2 : whole;
  both.replaceChildren(
    chart({ width, title: "loss (nats a token)", rate: false, color: "var(--line-loss)", x: told.x, y: told.loss, end: told.steps }),
    chart({ width, title: "tokens the teacher replaced", rate: true, color: "var(--line-replaced)", x: told.x, y: told.replaced, end: told.steps }),
  );
  if (bar.parentNode !== root) root.replaceChildren(style, bar, both);
}
draw();
watch("value", draw);
whenResized(element, draw);
