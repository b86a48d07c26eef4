/* The card of one token: the verdict in words, both models' most likely tokens on one scale, and the figures. */

function verdictWords(now, header) {
  const { token, verdict, k } = now, rank = token.teacher_rank, lossless = header.rule === "lossless";
  const proposed = quote(proposedPieces(token));
  const given = header.rule === "teacher_forced";
  const place = rank === 1 ? "the teacher’s first choice" : `the teacher’s ${ordinal(rank)} choice`;
  const whatIf = verdict === now.was || given ? null : ` As recorded, with K = ${limitAt(header, token.i) ?? "?"}, it was ${now.was === "replaced" ? "refused" : "accepted"}.`;
  if (given) {
    const end = verdict === "replaced" ? [`, beyond K = ${whole(k)}. The teacher would have written `, quote(now.parts), "."] : ["."];
    return el("p", `verdict ${verdict}`, el("b", "", verdict === "replaced" ? "Would be refused. " : "Would stand. "), "The text has ", proposed,
      ` here (student ${percent(token.proposed_p_student ?? token.p_student)}); that is ${place}`, ...end);
  }
  if (verdict === "replaced") {
    const beyond = lossless || k === null ? "" : `, beyond K = ${whole(k)}`;
    const same = token.proposed_id === (now.kept_id ?? token.kept_id);
    const likely = now.p_teacher ?? token.p_teacher;
    return el("p", "verdict replaced", el("b", "", lossless ? "Rejected. " : "Refused. "), "The student proposed ", proposed,
      ` (${percent(token.proposed_p_student)}); that is ${place}${beyond}. `,
      same ? "The teacher drew the very same token, " : "The teacher wrote ", same ? "" : quote(now.parts), same ? "" : " instead, ",
      `which it holds to be ${percent(likely)} likely.`, whatIf);
  }
  if (verdict === "accepted") {
    const within = lossless || k === null ? "" : ` (K = ${whole(k)})`;
    return el("p", "verdict", el("b", "", "Accepted. "), "The student proposed ", quote(now.parts),
      ` (${percent(studentChance(now))}); that is ${place}${within}.`, whatIf);
  }
  const words = {
    student: "Written by the student; the teacher did not judge it.",
    teacher: "Written by the teacher; the student proposed nothing here.",
  };
  return el("p", "verdict", words[token.source] ?? "From the reference text; nobody proposed it.");
}

const lowest = (top) => finite(list(top)[list(top).length - 1]?.[2]);

/* Rows of the card: both models' top tokens and the tokens in question, best of the teacher first. */
function duelRows(token, count, keptId) {
  const rows = new Map();
  const row = (id, text) => {
    if (!rows.has(id)) rows.set(id, { id, text: String(text ?? ""), student: null, teacher: null, rank: null, shown: false });
    return rows.get(id);
  };
  for (const role of ["student", "teacher"]) {
    list(token[`${role}_top`]).forEach((entry, at) => {
      const one = row(entry?.[0], entry?.[1]);
      one[role] = finite(entry?.[2]);
      if (role === "teacher") one.rank = at + 1;
      one.shown ||= at < count;
    });
  }
  const add = (id, text, hex, student, teacher) => {
    const one = row(id, text);
    one.shown = true;
    one.hex = hex;
    one.student ??= finite(student);
    one.teacher ??= finite(teacher);
    return one;
  };
  if (token.proposed_id >= 0) {
    const one = add(token.proposed_id, token.proposed, token.proposed_bytes, token.proposed_p_student, token.proposed_p_teacher);
    if (token.teacher_rank > 0) one.rank = token.teacher_rank;
  }
  add(token.kept_id, token.kept, token.kept_bytes, token.p_student, token.p_teacher);
  if (keptId !== undefined && token.teacher_draw?.id === keptId) add(keptId, token.teacher_draw.text, undefined, null, token.teacher_draw.p);
  return [...rows.values()].filter((one) => one.shown).sort((a, b) =>
    (a.rank ?? 1e9) - (b.rank ?? 1e9) || (b.teacher ?? -1) - (a.teacher ?? -1) || (b.student ?? -1) - (a.student ?? -1));
}

function side(className, value, floor) {
  const bar = el("div", "bar"), known = value !== null;
  bar.style.width = `calc(${known ? Math.max(0, Math.min(1, value)).toFixed(4) : 0} * (100% - 3.6rem))`;
  const under = floor === null ? "–" : `<${percent(floor).replace(/^[<>]/, "")}`;
  return el("td", "", el("div", `side ${className}`, known ? bar : null,
    el("span", known ? "" : "faint", known ? percent(value) : under)));
}

/* Both models' most likely tokens, one row a token, both bars on the scale 0 to 1. */
function duel(now, header, index) {
  const { token, k } = now, lossless = header.rule === "lossless", count = view.all ? 20 : 5;
  const kept = now.kept_id ?? token.kept_id, rows = duelRows(token, count, now.kept_id);
  const table = el("table", "duel", el("caption", "", `Both models’ top ${count}, in the teacher’s order`));
  table.append(el("thead", "", el("tr", "", ...["student", "token", "teacher"].map((name) => {
    const head = el("th", "", name);
    head.scope = "col";
    return head;
  }))));
  const body = el("tbody");
  let below = false;
  for (const row of rows) {
    const outside = !lossless && k !== null && (row.rank ?? Infinity) > k;
    if (outside && !below && row !== rows[0] && (row.rank !== null || k < list(token.teacher_top).length)) {
      const line = el("td", "", el("div", "", `refused from here on (K = ${whole(k)})`));
      line.colSpan = 3;
      body.append(el("tr", "line", line));
      below = true;
    }
    const refused = now.verdict === "replaced" && row.id === token.proposed_id && row.id !== kept;
    const name = paint(el("span"), lonePieces(row.text, row.hex));
    const cell = el("td", "token", name);
    if (hostDoes("branch")) {
      // the token itself is the way to continue from it
      const who = row.id === token.proposed_id ? "student" : [kept, token.kept_id].includes(row.id) ? "teacher" : "other";
      const branch = button("branch", name, () => emit("branch", { trace: index, i: token.i, who, token_id: row.id }));
      branch.title = "Branch here with this token";
      cell.append(branch);
    }
    if (refused) name.append(el("span", "spoken", " (refused)"));
    if (row.id === kept) name.append(el("span", "spoken", " (kept)"));
    body.append(el("tr", refused ? "refused" : row.id === kept ? (now.verdict === "replaced" ? "kept" : "kept stood") : "",
      side("left", row.student, lowest(token.student_top)), cell, side("right", row.teacher, lowest(token.teacher_top))));
  }
  table.append(body);
  return table;
}

function details(token, trace) {
  const dl = el("dl", "small"), number = (value) => (finite(value) === null ? "–" : value.toFixed(2));
  const add = (name, value) => dl.append(el("dt", "", name), el("dd", "", value));
  add("ids", isReplaced(token) ? `${token.proposed_id} → ${token.kept_id}` : `${token.kept_id}`);
  add("bytes", (String(token.kept_bytes ?? "").match(/../g) ?? ["–"]).slice(0, 24).join(" "));
  if (token.teacher_rank > 0) add("teacher rank", `${whole(token.teacher_rank)} (1 is best, on raw logits)`);
  const block = token.block >= 0 ? blocksOf(trace).get(token.block) : null;
  if (block) {
    const proposed = block.accepted + block.replaced + block.discarded;
    add("draft block", `${token.block}: ${proposed} proposed, ${block.accepted} kept, ${block.replaced} replaced, ${block.discarded} discarded`);
  }
  if (finite(token.kl) !== null) add("KL(teacher ‖ student)", `${number(token.kl)} nats`);
  if (finite(token.entropy_student) !== null) add("entropy", `student ${number(token.entropy_student)}, teacher ${number(token.entropy_teacher)} nats`);
  return dl;
}

/* Nodes of the card of the token at a place. */
function cardNodes(trace, index, place, own) {
  const now = standing(trace, place, own), { token } = now, replaced = now.verdict === "replaced";
  const word = el("span", "word");
  if (replaced) word.append(quote(proposedPieces(token), "del"));
  word.append(quote(now.parts, replaced ? "ins" : ""));
  const nodes = [el("div", "top", el("span", "number", `#${token.i}`), word), verdictWords(now, trace.header)];
  if (now.uncertain) nodes.push(el("p", "unsure", `Judged on the recorded text. With K = ${whole(now.k)} the text before this token would be another.`));
  const longest = Math.max(list(token.student_top).length, list(token.teacher_top).length);
  if (longest) nodes.push(duel(now, trace.header, index));
  if (longest > 5) {
    const more = button("wider", view.all ? "Show the top 5" : `Show the top ${Math.min(20, longest)}`, () => { view.all = !view.all; showAgain(".wider"); });
    more.setAttribute("aria-expanded", `${view.all}`);
    nodes.push(more);
  }
  if (longest && hostDoes("branch")) nodes.push(el("p", "hint", "Press a token of this table to branch here: the text goes on from it instead."));
  const thrown = list(token.discarded);
  if (thrown.length) {
    const line = el("p", "thrown", "Thrown away behind it, unjudged: ");
    thrown.forEach((entry) => line.append(quote(lonePieces(entry?.[1], entry?.[2])), " "));
    nodes.push(line);
  }
  nodes.push(details(token, trace));
  return nodes;
}
