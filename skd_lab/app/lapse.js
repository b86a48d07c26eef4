/* Recordings of one prompt, one at a time: a slider, play, a row a recording, the rate, the strip.
   props.value: NDJSON of traces in step order. Token text is drawn by the strip alone. */
const root = element.shadowRoot ?? element.attachShadow({ mode: "open" });
const style = document.createElement("style");
style.textContent = `${CHART_CSS}
  :host { --own: #2c68b0; --rust: #b34a00; --r1: #d9e8f9; --r2: #a9cbf0; --r3: #75a9e3; --r4: #4587cf; --bare: #d5dce6; }
  :host([data-dark]) { --own: #6aa7ee; --rust: #ff9a4d; --r1: #1d3048; --r2: #264d7a; --r3: #2d69ac; --r4: #6aa7ee; --bare: #3a4656; }
  .lapse { color: var(--body-text-color); font: 400 0.9375rem/1.45 var(--font, sans-serif); }
  .drive { display: flex; flex-wrap: wrap; align-items: center; gap: 0.5rem 0.75rem; }
  .drive button { font: inherit; color: inherit; background: var(--button-secondary-background-fill, none); border: 1px solid var(--border-color-primary);
    border-radius: 8px; padding: 0.4rem 0.9rem; cursor: pointer; min-height: 2.5rem; min-width: 2.75rem; }
  .drive button:disabled { opacity: 0.5; cursor: default; }
  .drive .play { min-width: 5.5rem; font-weight: 600; }
  .drive label { display: flex; flex: 1 1 12rem; align-items: center; gap: 0.6rem; min-width: 0; }
  .drive input { flex: 1; min-width: 6rem; height: 2rem; accent-color: var(--own); }
  .drive output { flex: 1 0 15rem; font-weight: 600; font-variant-numeric: tabular-nums; }
  :is(button, input):focus-visible { outline: 2px solid var(--own); outline-offset: 2px; }
  .over { display: grid; grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); gap: 0.5rem 2rem; align-items: start; margin: 0.9rem 0 1.2rem; }
  @media (max-width: 760px) { .over { grid-template-columns: minmax(0, 1fr); } }
  .line { display: grid; gap: 0.5rem; }
  .map { display: grid; gap: 2px; }
  .map button { display: grid; grid-template-columns: 6.8rem minmax(0, 1fr) 4.2rem; gap: 0.6rem; align-items: center; width: 100%; font: inherit; font-size: 0.8125rem;
    color: inherit; text-align: start; background: none; border: 1px solid transparent; border-radius: 6px; padding: 0.2rem 0.4rem; cursor: pointer; min-height: 1.6rem; }
  .map button:hover { background: var(--background-fill-secondary); }
  .map button[aria-current="true"] { border-color: currentColor; font-weight: 600; }
  .map svg { display: block; width: 100%; height: 14px; }
  .map span { white-space: nowrap; font-variant-numeric: tabular-nums; }
  .map span:last-child { text-align: end; }
  .r1 { fill: var(--r1); } .r2 { fill: var(--r2); } .r3 { fill: var(--r3); } .r4 { fill: var(--r4); } .bare { fill: var(--bare); } .replaced { fill: var(--rust); }
  .key { margin: 0.4rem 0 0; font-size: 0.8125rem; color: var(--body-text-color-subdued); }
`;
const box = piece("div", "lapse"), drive = piece("div", "drive"), over = piece("div", "over"), charts = piece("div", "line"), stage = piece("div", "");
const push = (words, name, act) => {
  const made = piece("button", "", words);
  made.type = "button";
  made.setAttribute("aria-label", name);
  made.addEventListener("click", act);
  return made;
};
const play = push("Play", "Play the recordings", () => (timer ? pause() : start()));
play.className = "play";
const back = push("‹", "Recording before", () => { pause(); go(at - 1); });
const forth = push("›", "Next recording", () => { pause(); go(at + 1); });
const slider = piece("input", ""), where = piece("output", "");
slider.type = "range";
slider.min = "0";
slider.addEventListener("input", () => { pause(); go(Number(slider.value)); });
drive.append(play, back, forth, piece("label", "", "Recording", slider), where);
box.append(drive, over, stage);

let taken = null, films = [], at = 0, timer = null, watchers = [];
const strip = { value: "" };

/* Lines of each trace as they are, with what the overview needs. */
function read(text) {
  const found = [];
  for (const line of text.split("\n")) {
    let record = null;
    try { record = JSON.parse(line); } catch { continue; }
    if (record && typeof record === "object" && "schema" in record) found.push({ lines: [line], step: Number(record.step) || 0, label: record.label, cells: [], judged: 0, refused: 0, kl: 0, measured: 0 });
    else if (found.length && record && typeof record === "object") {
      const film = found[found.length - 1], rank = Number(record.teacher_rank) || 0, gone = rank > 0 && record.source === "teacher";
      film.lines.push(line);
      film.judged += rank > 0;
      film.refused += gone;
      if (Number.isFinite(record.kl)) { film.kl += record.kl; film.measured += 1; }
      film.cells.push(gone ? "replaced" : rank > 0 ? `r${1 + (rank > 1) + (rank > 5) + (rank > 25)}` : "bare");
    }
  }
  return found;
}

const when = (film) => (film.step ? `update ${film.step.toLocaleString("en-US")}` : "before training");
const count = (film) => (film.judged ? `${film.refused} of ${film.judged} refused` : "not judged");

function overview() {
  const longest = Math.max(1, ...films.map((film) => film.cells.length)), map = piece("div", "map");
  films.forEach((film, n) => {
    const svg = shape("svg", { viewBox: `0 0 ${longest} 10`, preserveAspectRatio: "none", "aria-hidden": "true" });
    film.cells.forEach((name, place) => svg.append(shape("rect", { class: name, x: place + 0.06, width: 0.88, y: name === "replaced" ? 0 : 4, height: name === "replaced" ? 10 : 6 })));
    const row = piece("button", "", piece("span", "", when(film)), svg, piece("span", "", film.judged ? `${film.refused} / ${film.judged}` : "–"));
    row.type = "button";
    row.setAttribute("aria-label", `${when(film)}: ${count(film)}`);
    row.addEventListener("click", () => { pause(); go(n); });
    map.append(row);
  });
  const key = piece("p", "key", "A cell is a token: tall and orange where the teacher refused the proposal, darker blue the further down its list the proposal stands.");
  over.replaceChildren(piece("div", "", map, key), charts);
}

function go(next) {
  if (!films.length) return;
  at = Math.min(Math.max(0, next), films.length - 1);
  const film = films[at];
  slider.value = `${at}`;
  slider.setAttribute("aria-valuetext", `${when(film)}, ${count(film)}`);
  where.textContent = `${when(film)}: ${count(film)}`;
  back.disabled = at === 0;
  forth.disabled = at === films.length - 1;
  over.querySelectorAll(".map button").forEach((row, n) => row.setAttribute("aria-current", `${n === at}`));
  drawCharts();
  strip.value = `${film.lines.join("\n")}\n`;
  watchers.forEach((tell) => tell());
  if (timer && at === films.length - 1) pause();
}

function drawCharts() {
  if (!films.length) return;
  const x = films.map((one) => one.step), width = charts.clientWidth || 420;
  const line = (title, rate, color, y) => chart({ title, rate, color, x, y: films.map(y), width, height: 100, mark: films[at].step, now: at });
  charts.replaceChildren(
    line("refused proposals", true, "var(--rust)", (one) => (one.judged ? one.refused / one.judged : null)),
    line("KL(teacher || student), nats a token", false, "var(--own)", (one) => (one.measured ? one.kl / one.measured : null)),
  );
}

function start() {
  if (films.length < 2) return;
  if (at === films.length - 1) go(0);
  timer = setInterval(() => go(at + 1), 1200);
  play.textContent = "Pause";
  play.setAttribute("aria-label", "Pause");
}

function pause() {
  clearInterval(timer);
  timer = null;
  play.textContent = "Play";
  play.setAttribute("aria-label", "Play the recordings");
}

function update() {
  element.toggleAttribute("data-dark", document.body.classList.contains("dark"));
  const text = typeof props.value === "string" ? props.value : "";
  if (text === taken) return;
  const grows = Boolean(taken) && text.startsWith(taken);
  taken = text;
  if (!grows) pause();
  films = read(text);
  root.replaceChildren(style, ...(films.length ? [box] : []));
  if (!films.length) return;
  slider.max = `${films.length - 1}`;
  play.disabled = slider.disabled = films.length < 2;
  overview();
  go(props.follow ? films.length - 1 : grows ? at : 0);
  if (!stage.shadowRoot) renderStrip(stage, strip, null, (names, tell) => { if (!watchers.includes(tell)) watchers.push(tell); });
}
update();
watch("value", update);
whenResized(element, drawCharts);
