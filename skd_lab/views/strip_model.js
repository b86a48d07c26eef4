/* Records to what the strip says about them. No DOM here. Token text is data and stays data. */

const SCHEMA = "skd-trace/1";

/* NDJSON text -> {traces, notes}. A damaged line is left out and named; the good part is shown. */
function parseTraces(text) {
  const traces = [], notes = [];
  String(text ?? "").split("\n").forEach((line, number) => {
    if (!line.trim()) return;
    let record = null;
    try { record = JSON.parse(line); } catch { /* named below */ }
    if (record && typeof record === "object" && "schema" in record) {
      if (record.schema !== SCHEMA) notes.push(`Line ${number + 1}: schema ${record.schema} is not ${SCHEMA}.`);
      traces.push({ header: record, tokens: [] });
    } else if (record && typeof record === "object" && traces.length && typeof record.kept === "string") {
      traces[traces.length - 1].tokens.push(record);
    } else {
      notes.push(`Line ${number + 1} is damaged and left out.`);
    }
  });
  return { traces, notes };
}

const finite = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);
const list = (value) => (Array.isArray(value) ? value : []);

function percent(p) {
  p = finite(p);
  if (p === null) return "–";
  if (p > 0 && p < 0.0005) return "<0.1%";
  if (p >= 0.9995) return p < 1 ? ">99.9%" : "100%";
  return `${(100 * p).toFixed(1)}%`;
}

const isReplaced = (token) => token.source === "teacher" && token.teacher_rank > 0;
const isAccepted = (token) => token.source === "student" && token.teacher_rank > 0;

function countsOf(trace) {
  const counts = { accepted: 0, replaced: 0, discarded: 0, unverified: 0 };
  for (const token of trace.tokens) {
    if (isReplaced(token)) counts.replaced += 1;
    else if (isAccepted(token)) counts.accepted += 1;
    else counts.unverified += 1;
    counts.discarded += list(token.discarded).length;
  }
  return counts;
}

/* Rank classes 1 | 2-5 | 6-25 | 26-K, cut at K. */
function rankClasses(acceptTopK) {
  const limit = finite(acceptTopK) ?? Infinity, classes = [];
  let low = 1;
  for (const high of [1, 5, 25, Infinity]) {
    if (low > limit) break;
    const top = Math.min(high, limit);
    const label = top === low ? `${low}` : top === Infinity ? `${low} and on` : `${low}–${top}`;
    classes.push({ name: `r${classes.length + 1}`, low, high: top, label: `rank ${label}` });
    low = high + 1;
  }
  return classes;
}

function classOf(token, classes) {
  if (isReplaced(token)) return "replaced";
  if (!isAccepted(token)) return "plain";
  const found = classes.find((one) => token.teacher_rank <= one.high);
  return (found ?? classes[classes.length - 1]).name;
}

/* --- text to pieces: [kind, text] with kind text, space, newline, tab or chip --- */

const INVISIBLE = /[\p{C}\p{Zl}\p{Zp}\u00a0\u2000-\u200a\u202f\u205f\u3000\u115f\u1160\u3164\uffa0\u2800]/u;
const JOINS = /[\p{L}\p{M}\p{Extended_Pictographic}\u{1f3fb}-\u{1f3ff}\ufe0f]/u;
const codeName = (char) => `U+${char.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;

const PRINTABLE = /^[ -~]*$/;

function pieces(text) {
  if (PRINTABLE.test(text)) {
    return text.split(/( )/).filter(Boolean).map((part) => (part === " " ? ["space", part] : ["text", part]));
  }
  const out = [], chars = Array.from(text);
  chars.forEach((char, at) => {
    // zero-width joiners belong to Persian words and to emoji; alone they are invisible
    const joiner = char === "\u200c" || char === "\u200d";
    const joins = joiner && JOINS.test(chars[at - 1] ?? "") && JOINS.test(chars[at + 1] ?? "");
    if (char === " ") out.push(["space", " "]);
    else if (char === "\n") out.push(["newline", "\n"]);
    else if (char === "\t") out.push(["tab", "\t"]);
    else if (INVISIBLE.test(char) && !joins) out.push(["chip", codeName(char)]);
    else if (out.length && out[out.length - 1][0] === "text") out[out.length - 1][1] += char;
    else out.push(["text", char]);
  });
  return out;
}

const byteChip = (byte) => ["chip", `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`];

function bytesOf(hex, text) {
  if (typeof hex === "string" && hex.length && hex.length % 2 === 0 && /^[0-9a-f]+$/i.test(hex)) {
    const bytes = new Uint8Array(hex.length / 2);
    for (let at = 0; at < bytes.length; at += 1) bytes[at] = parseInt(hex.slice(2 * at, 2 * at + 2), 16);
    return bytes;
  }
  return new TextEncoder().encode(text);
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/* Length of the UTF-8 character that starts at bytes[at], or 0 if none does. */
function characterLength(bytes, at) {
  const lead = bytes[at];
  const length = lead < 0xc2 || lead > 0xf4 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (at + length > bytes.length) return 0;
  try { utf8.decode(bytes.subarray(at, at + length)); } catch { return 0; }
  return length;
}

/* Pieces of many tokens whose bytes belong together: a character that is split over tokens is
   shown where it starts, and its other tokens show their bytes. */
function joinedPieces(byteLists) {
  const all = new Uint8Array(byteLists.reduce((sum, bytes) => sum + bytes.length, 0));
  const owner = new Uint32Array(all.length);
  let end = 0;
  byteLists.forEach((bytes, index) => {
    all.set(bytes, end);
    owner.fill(index, end, end + bytes.length);
    end += bytes.length;
  });
  const out = byteLists.map(() => ({ run: "", pieces: [] }));
  const flush = (one) => { if (one.run) one.pieces.push(...pieces(one.run)); one.run = ""; };
  for (let at = 0; at < all.length;) {
    const one = out[owner[at]];
    let length = 0;
    while (all[at + length] < 0x80 && owner[at + length] === owner[at]) length += 1;
    length ||= characterLength(all, at);
    if (length === 0) { flush(one); one.pieces.push(byteChip(all[at])); at += 1; continue; }
    one.run += utf8.decode(all.subarray(at, at + length));
    for (let next = at + 1; next < at + length; next += 1) {
      if (owner[next] !== owner[at]) { flush(out[owner[next]]); out[owner[next]].pieces.push(byteChip(all[next])); }
    }
    at += length;
  }
  out.forEach(flush);
  return out.map((one) => one.pieces);
}

const keptPieces = (tokens) => joinedPieces(tokens.map((token) => bytesOf(token.kept_bytes, token.kept)));
const lonePieces = (text, hex) => joinedPieces([bytesOf(hex, String(text ?? ""))])[0];

/* --- words --- */

function spoken(parts) {
  const names = { space: "space", newline: "newline", tab: "tab" };
  return parts.map(([kind, text]) => names[kind] ?? text).join(" ") || "nothing";
}

function label(token, parts) {
  const rank = token.teacher_rank, words = [`token ${token.i}: ${spoken(parts)}`];
  if (isReplaced(token)) {
    const proposed = spoken(lonePieces(token.proposed, token.proposed_bytes));
    words.push(`in place of the refused ${proposed}`, `teacher rank ${rank}`, `student ${percent(token.proposed_p_student)}`);
  } else if (isAccepted(token)) {
    words.push("accepted", `teacher rank ${rank}`, `student ${percent(token.p_student)}`);
  } else {
    words.push({ student: "written by the student", teacher: "written by the teacher" }[token.source] ?? "from the reference");
  }
  return words.join(", ");
}

/* Rows of the card: both models' top 5 and the tokens in question, best of the teacher first. */
function duelRows(token, count) {
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
  if (token.proposed_id >= 0) {
    const one = row(token.proposed_id, token.proposed);
    one.shown = true;
    one.hex = token.proposed_bytes;
    one.student ??= finite(token.proposed_p_student);
    one.teacher ??= finite(token.proposed_p_teacher);
    if (token.teacher_rank > 0) one.rank = token.teacher_rank;
  }
  const kept = row(token.kept_id, token.kept);
  kept.shown = true;
  kept.hex = token.kept_bytes;
  kept.student ??= finite(token.p_student);
  kept.teacher ??= finite(token.p_teacher);
  const floor = { student: lowest(token.student_top), teacher: lowest(token.teacher_top) };
  return {
    floor,
    rows: [...rows.values()].filter((one) => one.shown).sort((a, b) =>
      (a.rank ?? 1e9) - (b.rank ?? 1e9) || (b.teacher ?? -1) - (a.teacher ?? -1) || (b.student ?? -1) - (a.student ?? -1)),
  };
}

const lowest = (top) => finite(list(top)[list(top).length - 1]?.[2]);
