/* Painting: pieces to nodes, and the card of one token. Only createElement and text nodes. */

function el(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/* breaks: whether a newline breaks the line (in the text) or is only shown by its sign. */
function paint(parent, parts, breaks = false) {
  for (const [kind, text] of parts) {
    if (kind === "text") parent.append(text);
    else if (kind === "space") parent.append(el("span", "sp", " "));
    else if (kind === "newline") parent.append(el("span", "nl", breaks ? "\n" : ""));
    else if (kind === "tab") parent.append(el("span", "tab", "\t"));
    else parent.append(el("span", "chip", text));
  }
  return parent;
}

function quote(parts, className = "quote") {
  return paint(el("span", className), parts.length ? parts : [["chip", "nothing"]]);
}

function ordinal(n) {
  const tail = n % 100 > 10 && n % 100 < 14 ? "th" : { 1: "st", 2: "nd", 3: "rd" }[n % 10] ?? "th";
  return `${n}${tail}`;
}

function verdict(token, header, kept) {
  const limit = finite(header.accept_top_k), rank = token.teacher_rank;
  const proposed = quote(lonePieces(token.proposed, token.proposed_bytes));
  const place = rank === 1 ? "the teacher’s first choice" : `the teacher’s ${ordinal(rank)} choice`;
  if (isReplaced(token)) {
    const beyond = limit === null ? "" : `, beyond K = ${limit}`;
    const same = token.proposed_id === token.kept_id;
    return el("p", "verdict replaced", el("b", "", "Refused. "), "The student proposed ", proposed,
      ` (${percent(token.proposed_p_student)}); that is ${place}${beyond}. `,
      same ? "The teacher drew the very same token, " : "The teacher wrote ", same ? "" : quote(kept), same ? "" : " instead, ",
      `which it holds to be ${percent(token.p_teacher)} likely.`);
  }
  if (isAccepted(token)) {
    const within = limit === null ? "" : ` (K = ${limit})`;
    return el("p", "verdict", el("b", "", "Accepted. "), "The student proposed ", quote(kept),
      ` (${percent(token.p_student)}); that is ${place}${within}.`);
  }
  const words = {
    student: "Written by the student; the teacher did not judge it.",
    teacher: "Written by the teacher; the student proposed nothing here.",
  };
  return el("p", "verdict", words[token.source] ?? "From the reference text; nobody proposed it.");
}

function side(className, value, floor) {
  const bar = el("div", "bar"), known = value !== null;
  bar.style.width = `calc(${known ? Math.max(0, Math.min(1, value)).toFixed(4) : 0} * (100% - 3.6rem))`;
  const under = floor === null ? "–" : `<${percent(floor).replace(/^[<>]/, "")}`;
  return el("td", "", el("div", `side ${className}`, known ? bar : null,
    el("span", known ? "" : "faint", known ? percent(value) : under)));
}

/* Both models' most likely tokens, one row a token, both bars on the scale 0 to 1. */
function duel(token, header) {
  const { rows, floor } = duelRows(token, 5), limit = finite(header.accept_top_k);
  const table = el("table", "duel", el("caption", "", "Both models’ top 5, in the teacher’s order"));
  const heads = ["student", "token", "teacher"].map((name) => {
    const head = el("th", "", name);
    head.scope = "col";
    return head;
  });
  table.append(el("thead", "", el("tr", "", ...heads)));
  const body = el("tbody");
  let below = false;
  for (const row of rows) {
    const outside = limit !== null && (row.rank ?? Infinity) > limit;
    if (outside && !below && row !== rows[0] && (row.rank !== null || limit < list(token.teacher_top).length)) {
      const cell = el("td", "", el("div", "", `refused from here on (K = ${limit})`));
      cell.colSpan = 3;
      body.append(el("tr", "line", cell));
      below = true;
    }
    const kept = row.id === token.kept_id, refused = isReplaced(token) && row.id === token.proposed_id && !kept;
    const name = paint(el("span"), lonePieces(row.text, row.hex));
    if (refused) name.append(el("span", "spoken", " (refused)"));
    if (kept) name.append(el("span", "spoken", " (kept)"));
    body.append(el("tr", refused ? "refused" : kept ? (isReplaced(token) ? "kept" : "kept stood") : "",
      side("left", row.student, floor.student), el("td", "token", name), side("right", row.teacher, floor.teacher)));
  }
  table.append(body);
  return table;
}

function details(token) {
  const dl = el("dl", "small");
  const add = (name, value) => dl.append(el("dt", "", name), el("dd", "", value));
  const number = (value) => (finite(value) === null ? "–" : value.toFixed(2));
  add("ids", isReplaced(token) ? `${token.proposed_id} → ${token.kept_id}` : `${token.kept_id}`);
  add("bytes", (String(token.kept_bytes ?? "").match(/../g) ?? ["–"]).slice(0, 24).join(" "));
  if (token.block >= 0) add("draft block", `${token.block}`);
  if (token.teacher_rank > 0) add("teacher rank", `${token.teacher_rank} (1 is best, on raw logits)`);
  if (finite(token.kl) !== null) add("KL(teacher ‖ student)", `${number(token.kl)} nats`);
  if (finite(token.entropy_student) !== null) {
    add("entropy", `student ${number(token.entropy_student)}, teacher ${number(token.entropy_teacher)} nats`);
  }
  return dl;
}

/* Nodes of the card. kept: the token's pieces as the strip shows them. */
function cardNodes(token, header, kept) {
  const word = el("span", "word");
  if (isReplaced(token)) word.append(quote(lonePieces(token.proposed, token.proposed_bytes), "del"));
  word.append(quote(kept, isReplaced(token) ? "ins" : ""));
  const nodes = [el("div", "top", el("span", "number", `#${token.i}`), word), verdict(token, header, kept)];
  if (list(token.student_top).length || list(token.teacher_top).length) nodes.push(duel(token, header));
  const thrown = list(token.discarded);
  if (thrown.length) {
    const line = el("p", "thrown", `Thrown away behind it, unjudged: `);
    thrown.forEach((entry) => line.append(quote(lonePieces(entry?.[1], entry?.[2])), " "));
    nodes.push(line);
  }
  nodes.push(details(token));
  return nodes;
}
