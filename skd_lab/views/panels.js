/* Walk the pictures: pointer or arrow keys choose a step, every picture shows its values there.
   Pictures stay as they are where no script runs. */
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const panels = [...document.querySelectorAll(".skd-report figure.panel")].filter((figure) => !figure.dataset.ready);
  const text = (value, rate) => value === null || value === undefined ? "–"
    : rate ? `${(100 * value).toFixed(1)}%`
    : value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential(1) : `${Number(value.toPrecision(3))}`;

  const charts = panels.map((figure) => {
    figure.dataset.ready = "yes";
    const svg = figure.querySelector("svg"), data = JSON.parse(figure.querySelector("script").textContent);
    const line = document.createElementNS(SVG, "line");
    line.setAttribute("class", "cursor");
    line.setAttribute("y1", data.box[1]);
    line.setAttribute("y2", data.box[3]);
    const said = document.createElement("figcaption");
    figure.append(said);
    figure.tabIndex = 0;
    figure.setAttribute("role", "group");
    figure.setAttribute("aria-label", `${svg.getAttribute("aria-label").split(". ")[0]}: walk the steps with the arrow keys`);
    return { figure, svg, data, line, said };
  });

  const x = ({ data }, step) => data.box[0] + (step - data.x[0]) / (data.x[1] - data.x[0]) * (data.box[2] - data.box[0]);
  const nearest = (steps, step) => steps.reduce((best, one, n) => Math.abs(one - step) < Math.abs(steps[best] - step) ? n : best, 0);
  let step = null;

  function show(next, own) {
    step = next;
    for (const chart of charts) {
      const { data, line, said, svg } = chart, n = nearest(data.steps, next);
      if (chart === own) said.setAttribute("aria-live", "polite"); else said.removeAttribute("aria-live");
      line.setAttribute("x1", x(chart, data.steps[n]));
      line.setAttribute("x2", x(chart, data.steps[n]));
      if (!line.parentNode) svg.append(line);
      const values = data.lines.map((one) => `${one.name ? `${one.name} ` : ""}${text(one.values[n], data.rate)}`);
      said.textContent = `step ${data.steps[n]}: ${values.join(", ")}`;
    }
  }

  function hide() {
    step = null;
    for (const { line, said } of charts) { line.remove(); said.textContent = ""; }
  }

  for (const chart of charts) {
    const { figure, svg, data } = chart, steps = data.steps;
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect(), wide = svg.viewBox.baseVal.width;
      const at = (event.clientX - box.left) / box.width * wide;
      show(data.x[0] + (at - data.box[0]) / (data.box[2] - data.box[0]) * (data.x[1] - data.x[0]), chart);
    });
    svg.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch" && document.activeElement !== figure) hide(); });
    figure.addEventListener("focus", () => { if (figure.matches(":focus-visible")) show(step ?? steps[steps.length - 1], chart); });
    figure.addEventListener("blur", hide);
    figure.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const n = nearest(steps, step ?? steps[steps.length - 1]), far = Math.max(1, Math.round(steps.length / 10));
      const to = { ArrowLeft: n - 1, ArrowRight: n + 1, PageUp: n - far, PageDown: n + far, Home: 0, End: steps.length - 1 }[event.key];
      if (event.key === "Escape") { hide(); return; }
      if (to === undefined) return;
      event.preventDefault();
      show(steps[Math.min(steps.length - 1, Math.max(0, to))], chart);
    });
  }

  /* on paper nothing can be unfolded */
  const folds = () => document.querySelectorAll(".skd-report details");
  addEventListener("beforeprint", () => folds().forEach((one) => { one.dataset.was = one.open ? "open" : ""; one.open = true; }));
  addEventListener("afterprint", () => folds().forEach((one) => { one.open = one.dataset.was === "open"; }));
})();
