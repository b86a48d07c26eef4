/* Under each trace's name: the legend, which filters and counts, the sums, and what another K would
   change. Its buttons stay the same nodes, so that focus stays where it is. */

function tell(index) {
  const trace = state.traces[index], own = state.strips[index];
  legend(trace, own);
  sums(trace, own);
  whatIf(trace, own, index);
  if (view.layout === "table") drawTable(index);
}

function legend(trace, own) {
  const { decided } = own, limits = list(trace.header.accept_top_k).filter((k) => finite(k) !== null);
  const limit = decided.k ?? (trace.header.rule === "lossless" ? null : limits.length ? Math.max(...limits) : finite(trace.header.accept_top_k));
  const counts = new Map(), bump = (name) => counts.set(name, (counts.get(name) ?? 0) + 1);
  trace.tokens.forEach((token, place) => {
    const verdict = decided.verdicts[place];
    bump(verdict);
    const shade = shadeOf(token, verdict, view.colour);
    if (shade) bump(shade);
  });
  const ranks = view.colour === "rank", given = isGiven(trace), lossless = trace.header.rule === "lossless";
  const items = classesOf(view.colour, limit).map((one) => [one.name, ranks ? "accepted, " : "", one.label, counts.get(one.name)]);
  items.push(["replaced", "", given ? "would be refused" : lossless ? "rejected and replaced" : "refused and replaced", counts.get("replaced")]);
  items.push(["discarded", "", "discarded", discardedOf(trace)], ["plain", "", "not judged", counts.get("plain")]);
  const judged = (counts.get("accepted") ?? 0) + (counts.get("replaced") ?? 0);
  own.legend.setAttribute("aria-label", "Legend; a button picks out its tokens");
  const known = new Map([...own.legend.children].map((item) => [item.dataset.key, item]));
  items.forEach(([name, lead, words, count], at) => {
    let item = known.get(name);
    if (!item) {
      const one = button("", "", () => filter(own, one));
      one.append(el("span", `swatch ${name}`), el("span", "words"), el("b"));
      one.dataset.only = name;
      one.setAttribute("aria-pressed", "false");
      item = el("li", "", one);
      item.dataset.key = name;
    }
    known.delete(name);
    if (own.legend.children[at] !== item) own.legend.insertBefore(item, own.legend.children[at] ?? null);
    item.querySelector(".words").replaceChildren(el("span", "lead", lead), words);
    item.querySelector("b").textContent = whole(count ?? 0);
    item.hidden = !count && !(name === "replaced" && judged);
  });
  known.forEach((item) => item.remove());
}

/* Pick out one class of tokens; for discarded proposals: show them as ghosts in the text. */
function filter(own, one) {
  const on = one.getAttribute("aria-pressed") !== "true", name = one.dataset.only;
  own.legend.querySelectorAll("button").forEach((other) => {
    if ((other.dataset.only === "discarded") === (name === "discarded")) other.setAttribute("aria-pressed", "false");
  });
  one.setAttribute("aria-pressed", `${on}`);
  if (name === "discarded") own.text.classList.toggle("show-ghosts", on);
  else if (on) own.text.dataset.only = name;
  else delete own.text.dataset.only;
}

function sums(trace, own) {
  const { decided } = own, discarded = discardedOf(trace), judged = decided.accepted + decided.replaced;
  const proposed = judged + discarded, lossless = trace.header.rule === "lossless", says = [];
  if (!proposed) {
    own.sum.textContent = `${whole(trace.tokens.length)} tokens, none of them proposed by a student and judged`;
    return;
  }
  if (isGiven(trace)) {
    own.sum.textContent = `${decided.accepted} of ${judged} tokens would stand, ${decided.replaced} would be refused (${percent(decided.replaced / (judged || 1))})`;
    return;
  }
  says.push(`${decided.accepted} accepted + ${decided.replaced} replaced + ${discarded} discarded = ${proposed} proposed`);
  if (judged) says.push(`${decided.replaced} of ${judged} judged tokens ${lossless ? "rejected" : "refused"} (${percent(decided.replaced / judged)})`);
  const blocks = blocksOf(trace).size;
  if (blocks && decided.k === null) says.push(`${blocks} draft blocks: ${blocks} teacher passes for ${trace.tokens.length} tokens`);
  own.sum.textContent = says.join(" · ");
  const more = [];
  if (view.colour === "kl") {
    const kl = (tokens) => tokens.reduce((sum, token) => sum + Math.max(0, finite(token.kl) ?? 0), 0);
    const all = kl(trace.tokens), theirs = kl(trace.tokens.filter((token) => token.source === "teacher"));
    if (all) more.push(`The ${percent(decided.replaced / (judged || 1))} that the teacher wrote hold ${percent(theirs / all)} of the KL; the rest lies on tokens the student wrote.`);
  }
  if (!decided.replaced && judged && decided.k === null && limitAt(trace.header, 0) > 1 && view.colour === "rank" && !lossless) {
    const ranks = trace.tokens.map((token) => token.teacher_rank).filter((rank) => rank > 1);
    if (ranks.length) more.push(`This student already speaks within the teacher’s top ${limitWords(trace.header)}; with K = ${Math.min(...ranks) - 1 || 1} the teacher would refuse some.`);
  }
  more.forEach((words) => own.sum.append(el("br"), words));
}

/* The honesty rule: a verdict holds as long as the text before it is the recorded one. */
function whatIf(trace, own, index) {
  const { decided } = own, tokens = trace.tokens, k = decided.k;
  const focused = own.whatIf.contains(root.activeElement);
  own.whatIf.replaceChildren();
  const reason = view.k !== null ? whyNot(trace) : null;
  if (reason) own.whatIf.append(el("p", "", `K stays as recorded here. ${reason}`));
  if (k === null || (!decided.flips && k === limitAt(trace.header, 0))) return;
  const mark = el("b", "", `What if K were ${whole(k)}? `);
  if (isGiven(trace)) {
    own.whatIf.append(el("p", "", mark, `The teacher would refuse ${decided.replaced} of these ${decided.replaced + decided.accepted} tokens. The text was given, so every verdict holds.`));
    return;
  }
  if (!decided.flips) { own.whatIf.append(el("p", "", mark, "Every verdict stays, and so does the text.")); return; }
  const flips = `${decided.flips === 1 ? "One verdict differs" : `${decided.flips} verdicts differ`} from the recorded run`;
  if (decided.fork === null) {
    own.whatIf.append(el("p", "", mark, `${flips}, yet the teacher drew the student’s very token, so the text stays.`));
    return;
  }
  const i = tokens[decided.fork].i, after = tokens.length - decided.fork - 1;
  const rest = decided.endsAt !== null ? " The text would end there." : after ? ` From there on the text would be another: the ${after === 1 ? "last token is" : `other ${whole(after)} tokens are`} hatched, as their verdicts hold for the recorded text only.` : " The text would go on from there.";
  own.whatIf.append(el("p", "", mark, `${flips}, the first at token ${i}.${rest}`));
  if (decided.endsAt !== null) return;
  const again = button("again", `Re-run from token ${i} with K = ${whole(k)}`, () => {
    if (hostDoes("rerun")) emit("rerun", { trace: index, start: i, k });
    else explain(trace, own, k);
  });
  own.whatIf.append(again);
  if (focused) again.focus();
}

/* Where nobody can run a model: the command that does it. */
function explain(trace, own, k) {
  const header = trace.header, flags = [`--accept-top-k ${k}`];
  if (finite(header.gamma) || header.gamma === "adaptive") flags.push(`--gamma ${header.gamma}`);
  if (finite(header.seed) !== null) flags.push(`--seed ${header.seed}`);
  own.whatIf.querySelector(".command")?.remove();
  own.whatIf.append(el("p", "command", "This page holds records and no model. In the app (", el("code", "", "skd-lab app"), ") this button runs it; in a terminal: ",
    el("code", "", `skd-lab rollout --prompt "…" ${flags.join(" ")}`)));
}
