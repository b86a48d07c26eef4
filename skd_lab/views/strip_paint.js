/* Painting: pieces to nodes, and what a token says of itself. Only createElement and text nodes. */

function el(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function button(className, words, act) {
  const node = el("button", className, words);
  node.type = "button";
  node.addEventListener("click", act);
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
  return `${whole(n)}${tail}`;
}

const UNSURE = ", uncertain, the text before it would be another";

/* What stands at a place now: the verdict, the proposal if it is refused, and the token kept. */
function standing(trace, place, own) {
  const token = trace.tokens[place], verdict = own.decided.verdicts[place], was = recorded(token);
  const now = { token, verdict, was, parts: own.parts[place], k: own.decided.k ?? limitAt(trace.header, token.i ?? place), parting: trace.header.diverges_at === token.i, uncertain: own.decided.fork !== null && place > own.decided.fork };
  if (verdict === was) return now;
  if (verdict === "accepted") return { ...now, parts: proposedPieces(token), kept_id: token.proposed_id, p_teacher: token.proposed_p_teacher };
  const choice = teacherChoice(token, trace.header);
  return { ...now, parts: choice ? lonePieces(choice.text, choice.hex) : [["chip", "not recorded"]], kept_id: choice?.id, p_teacher: choice?.p };
}

const studentChance = ({ token, was }) => (was === "accepted" ? token.p_student : token.proposed_p_student);

/* The name a screen reader says. */
function label(now, proposed) {
  const { token, verdict } = now, rank = token.teacher_rank, words = [`token ${token.i}: ${spoken(now.parts)}`];
  if (verdict === "replaced") {
    words.push(`in place of the refused ${spoken(proposed)}`, `teacher rank ${rank}`, `student ${percent(token.proposed_p_student)}`);
  } else if (verdict === "accepted") {
    words.push("accepted", `teacher rank ${rank}`, `student ${percent(studentChance(now))}`);
  } else {
    words.push({ student: "written by the student", teacher: "written by the teacher" }[token.source] ?? "from the reference");
  }
  if (now.parting) words.unshift("here the texts part");
  if (verdict !== now.was) words.push(`with K ${now.k}, ${now.was} as recorded`);
  return words.join(", ");
}
