/* Records to what the strip says about them: reading, decisions, counts. No DOM here. Token text is
   data and stays data. Ranks count from 1, on the teacher's raw logits. */

const SCHEMA = "skd-trace/1";

const finite = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);
const list = (value) => (Array.isArray(value) ? value : []);
const whole = (n) => `${n}`.replace(/\B(?=(\d{3})+$)/g, ","); /* toLocaleString is slow */

function percent(p) {
  p = finite(p);
  if (p === null) return "–";
  if (p > 0 && p < 0.0005) return "<0.1%";
  if (p >= 0.9995) return p < 1 ? ">99.9%" : "100%";
  return `${(100 * p).toFixed(1)}%`;
}

/* Reads NDJSON that may grow. A damaged line is left out and named; the last line waits while it is
   no whole record yet. */
function newReader() {
  return { seen: "", lines: 0, rest: "", traces: [], notes: [] };
}

function readMore(reader, text) {
  const lines = (reader.rest + text.slice(reader.seen.length)).split("\n");
  reader.seen = text;
  reader.rest = lines.pop();
  lines.forEach((line) => readLine(reader, line));
  if (reader.rest.trim() && parsed(reader.rest)) {
    readLine(reader, reader.rest);
    reader.rest = "";
    reader.lines -= 1; // its line end comes with the next piece, as an empty line
  }
}

function parsed(line) {
  try { return JSON.parse(line); } catch { return null; }
}

function readLine(reader, line) {
  reader.lines += 1;
  if (!line.trim()) return;
  const record = parsed(line);
  if (record && typeof record === "object" && "schema" in record) {
    if (record.schema !== SCHEMA) reader.notes.push(`Line ${reader.lines}: schema ${record.schema} is not ${SCHEMA}; this page may be too old for it.`);
    reader.traces.push({ header: record, tokens: [] });
  } else if (record && typeof record === "object" && reader.traces.length && typeof record.kept === "string") {
    reader.traces[reader.traces.length - 1].tokens.push(record);
  } else {
    reader.notes.push(`Line ${reader.lines} is damaged and left out.`);
  }
}

/* --- decisions --- */

const isReplaced = (token) => token.source === "teacher" && token.teacher_rank > 0;
const isAccepted = (token) => token.source === "student" && token.teacher_rank > 0;
const recorded = (token) => (isReplaced(token) ? "replaced" : isAccepted(token) ? "accepted" : "plain");

/* K as recorded: a number, a list (K of each position; the last one holds on), or null. */
function limitAt(header, i) {
  const k = header.accept_top_k;
  return Array.isArray(k) ? finite(k[Math.min(i, k.length - 1)]) : finite(k);
}

function limitWords(header) {
  const k = list(header.accept_top_k).filter((one) => finite(one) !== null);
  if (!k.length) return finite(header.accept_top_k) === null ? null : `${whole(header.accept_top_k)}`;
  return k.every((one) => one === k[0]) ? `${whole(k[0])}` : `${whole(k[0])}…${whole(k[k.length - 1])}`;
}

/* Why K cannot be changed afterwards, or null where it can. */
function whyNot(trace) {
  const header = trace.header, replacement = header.replacement ?? header.policies?.replacement ?? "teacher_sample";
  const variant = header.variant ?? header.policies?.variant ?? "paper";
  if (header.rule === "lossless") return "Lossless speculative sampling accepts by a ratio of probabilities; it has no K.";
  if (!trace.tokens.some((token) => token.teacher_rank > 0)) return "No token of this text was proposed and judged, so there is nothing to decide again.";
  if (variant !== "paper") return `The run used the variant ${variant}, whose ranks do not tell what another K would do.`;
  if (!["teacher_sample", "teacher_argmax"].includes(replacement)) return `Refused tokens were replaced by ${replacement}, which another K would change, too.`;
  return null;
}

/* What the teacher would have written at this token, as {id, text, p}, or null. */
function teacherChoice(token, header) {
  const replacement = header.replacement ?? header.policies?.replacement;
  if (isReplaced(token)) return { id: token.kept_id, text: token.kept, hex: token.kept_bytes, p: finite(token.p_teacher) };
  const top = list(token.teacher_top)[0];
  if (replacement === "teacher_argmax") return top ? { id: top[0], text: String(top[1] ?? ""), p: finite(top[2]) } : null;
  const draw = token.teacher_draw;
  return draw && typeof draw === "object" ? { id: draw.id, text: String(draw.text ?? ""), p: finite(draw.p) } : null;
}

/* A text that was there before and was only judged: no verdict changes it. */
const isGiven = (trace) => trace.header.rule === "teacher_forced";

/* The recorded text judged again with another K (null: as recorded). A verdict holds as long as the
   text before it is the recorded one, so nothing after the fork is certain. known: verdicts on the
   first tokens, to go on from. */
function decide(trace, k, known = null) {
  const out = known ?? { k, verdicts: [], fork: null, flips: 0, endsAt: null, accepted: 0, replaced: 0, plain: 0 };
  const last = trace.tokens[trace.tokens.length - 1];
  const changes = k !== null && whyNot(trace) === null;
  out.k = changes ? k : null;
  for (let place = out.verdicts.length; place < trace.tokens.length; place += 1) {
    const token = trace.tokens[place], was = recorded(token);
    const now = changes && was !== "plain" ? (token.teacher_rank <= k ? "accepted" : "replaced") : was;
    out.verdicts.push(now);
    out[now] += 1;
    if (now === was) continue;
    out.flips += 1;
    if (out.fork !== null || isGiven(trace)) continue;
    const id = now === "accepted" ? token.proposed_id : teacherChoice(token, trace.header)?.id;
    if (id === token.kept_id) continue; // the same token by another hand: the text goes on as it was
    out.fork = place;
    if (trace.header.finished && id === last.kept_id && token !== last) out.endsAt = place;
  }
  return out;
}

const discardedOf = (trace) => trace.tokens.reduce((sum, token) => sum + list(token.discarded).length, 0);

/* Stops of the slider: 1 ... |V|, with the recorded numbers among them. */
function stopsOf(traces, extra = []) {
  const ranks = traces.flatMap((trace) => trace.tokens.map((token) => finite(token.teacher_rank) ?? 0));
  const size = Math.max(1, ...traces.map((trace) => finite(trace.header.vocab_size) ?? 0), ranks.reduce((a, b) => Math.max(a, b), 1));
  const own = traces.map((trace) => finite(trace.header.accept_top_k)).concat(extra).filter((k) => k !== null && k >= 1 && k < size);
  const usual = [1, 2, 3, 5, 10, 25, 50, 100, 200, 1000, 10000].filter((k) => k <= 0.6 * size);
  return [...new Set([...usual, ...own, size])].sort((a, b) => a - b);
}

/* Draft blocks: what each proposed, kept, had replaced and threw away. */
function blocksOf(trace) {
  const blocks = new Map();
  for (const token of trace.tokens) {
    if (!(token.block >= 0)) continue;
    if (!blocks.has(token.block)) blocks.set(token.block, { accepted: 0, replaced: 0, discarded: 0 });
    const block = blocks.get(token.block), verdict = recorded(token);
    if (verdict !== "plain") block[verdict] += 1;
    block.discarded += list(token.discarded).length;
  }
  return blocks;
}
