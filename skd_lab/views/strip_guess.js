/* Guess first: the proposals are shown, the verdicts are not; mark what the teacher will refuse,
   then reveal. The marks stay in the page. */

function guessBar() {
  const box = el("div", "guessing");
  state.guess = box;
  box.append(el("p", "", el("b", "", "Which of these proposals will the teacher refuse? "), "Mark them by tap, click or Enter. Text behind a refusal goes on from what the teacher wrote."),
    button("plainer", "Reveal", () => reveal()), button("plainer", "Stop guessing", () => startGuess(false)));
  return box;
}

function startGuess(on) {
  view.predict = on;
  setK(null, true);
  if (view.layout === "table") view.layout = "inline";
  clear();
  state.box?.remove();
  state.strips.forEach((own) => { if (on) own.guesses.clear(); own.text.setAttribute("aria-multiselectable", `${on}`); });
  refill();
  state.guess?.querySelector("button")?.focus();
}

function refill() {
  state.traces.forEach((trace, index) => {
    const own = state.strips[index];
    own.decided = decide(trace, view.k);
    for (let place = 0; place < own.shown; place += 1) {
      fill(trace, own, place);
      own.nodes[place].setAttribute("aria-selected", `${view.predict && own.guesses.has(place)}`);
    }
    tell(index);
  });
  applyView();
}

function guess(node) {
  const { trace, place } = placeOf(node), own = state.strips[trace];
  if (own.decided.verdicts[place] === "plain") return;
  if (!own.guesses.delete(place)) own.guesses.add(place);
  node.className = classNameOf(state.traces[trace], own, place);
  node.setAttribute("aria-selected", `${own.guesses.has(place)}`);
}

function reveal() {
  view.predict = false;
  const sums = { found: 0, missed: 0, wrong: 0 };
  state.strips.forEach((own, index) => {
    const refused = own.decided.verdicts.flatMap((verdict, place) => (verdict === "replaced" ? [place] : []));
    const found = refused.filter((place) => own.guesses.has(place)).length;
    const result = { found, missed: refused.length - found, wrong: own.guesses.size - found };
    Object.keys(sums).forEach((name) => { sums[name] += result[name]; });
    emit("guess", { trace: index, ...result });
  });
  refill();
  const all = sums.found + sums.missed;
  state.box = el("p", "result", el("b", "", `You found ${sums.found} of ${all} refusals`),
    `${sums.wrong ? `, and marked ${sums.wrong} that stood` : ""}. Your marks are outlined.`);
  state.box.setAttribute("role", "status");
  state.guess?.after(state.box);
}
