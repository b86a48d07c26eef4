// Token text as pieces that can be shown and words that can be said; records from NDJSON.
"use strict";
const make = (tag, name = "", text = "") => {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== "") node.textContent = text;
  return node;
};
const clamp = (x) => Math.min(1, Math.max(0, Number(x) || 0));
const percent = (p) =>
  typeof p !== "number" ? "\u2013"
    : p > 0 && p < 0.001 ? "<0.1%" : p < 1 && p > 0.999 ? ">99.9%" : (100 * p).toFixed(1) + "%";
const ordinal = (n) =>
  n + (n % 100 > 10 && n % 100 < 14 ? "th" : ["th", "st", "nd", "rd"][n % 10] || "th");
const plural = (n, word) => n + " " + word + (n === 1 ? "" : "s");

// ---- text: pieces that can be shown, and words that can be said -----------------------------
const HIDDEN = new RegExp(
  "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4" +
  "\\u17b5\\u180e\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufeff\\uffa0" +
  "\\ufff9-\\ufffb\\ud800-\\udfff\\u{e0000}-\\u{e007f}]", "u");
const KINDS = { " ": "sp", "\u00a0": "sp nb", "\n": "nl", "\t": "tab" };
const WORDS = { sp: "space", "sp nb": "no-break space", nl: "newline", tab: "tab" };
const strict = new TextDecoder("utf-8", { fatal: true });
const decoded = (bytes) => {
  try { return strict.decode(Uint8Array.from(bytes)); } catch { return null; }
};
const chip = (code) => "U+" + code.toString(16).toUpperCase().padStart(4, "0");

// tail: bytes of a character that began in an earlier token, kept while a strip is built.
function pieces(text, hex = "", tail = []) {
  const bytes = (String(hex ?? "").match(/[0-9a-f]{2}/gi) || []).map((pair) => parseInt(pair, 16));
  text = String(text ?? "");
  if (text.includes("\ufffd") && bytes.length && decoded(bytes) === null) return torn(bytes, tail);
  tail.length = 0;
  if (text === "\u200d" || text === "\u200c") return [["chip", chip(text.codePointAt(0))]];
  const found = [];
  for (const char of text) {
    const hidden = HIDDEN.test(char);
    const kind = hidden ? "chip" : KINDS[char] || "";
    const shown = hidden ? chip(char.codePointAt(0)) : char;
    if (kind === "" && found.length && found.at(-1)[0] === "") found.at(-1)[1] += shown;
    else found.push([kind, shown]);
  }
  return found;
}

// A token whose bytes are no whole characters: byte chips, and the character once it is complete.
function torn(bytes, tail) {
  const found = [];
  for (let at = 0; at < bytes.length;) {
    const lead = bytes[at];
    const size = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    const whole = decoded(bytes.slice(at, at + size));
    if (whole !== null && at + size <= bytes.length) {
      found.push(...pieces(whole));
      tail.length = 0;
      at += size;
      continue;
    }
    tail.push(lead);
    found.push(["chip", "0x" + lead.toString(16).toUpperCase().padStart(2, "0")]);
    const complete = decoded(tail);
    if (complete !== null) {
      found.push(["whole", "\u2009" + complete]);
      tail.length = 0;
    }
    at += 1;
  }
  return found;
}

function fill(node, parts) {
  for (const [kind, text] of parts) {
    if (kind === "") node.append(text);
    else node.append(make("span", kind, text));
  }
  return node;
}
const spoken = (parts) =>
  parts.map(([kind, text]) => WORDS[kind] || (kind === "whole" ? "" : text.trim())).filter(Boolean)
    .join(" ") || "nothing";
const shown = (text, hex, name = "q") => fill(make("span", name), pieces(text, hex));

// ---- records -------------------------------------------------------------------------------
function parse(value) {
  const traces = [], lines = String(value ?? "").split("\n");
  for (let number = 0; number < lines.length; number++) {
    if (!lines[number].trim()) continue;
    let record = null;
    try { record = JSON.parse(lines[number]); } catch { /* said below */ }
    const bad = record === null || typeof record !== "object" || (!record.schema && !traces.length);
    if (bad || (record.schema && record.schema !== "skd-trace/1"))
      return { traces, note: bad
        ? "Line " + (number + 1) + " is damaged; what comes before it is shown."
        : "Line " + (number + 1) + " has schema " + record.schema + "; this strip reads skd-trace/1." };
    if (record.schema) traces.push({ header: record, tokens: [] });
    else traces.at(-1).tokens.push(record);
  }
  return { traces, note: "" };
}
const refused = (token) => token.source === "teacher" && token.teacher_rank > 0;

// Colour classes of accepted ranks: at most three, and their upper ends.
function rankEnds(k) {
  const ends = k <= 3 ? [1, 2, 3] : k <= 5 ? [1, 2, k] : [1, 5, k];
  return ends.filter((end, n) => end <= k && (n === 0 || end > ends[n - 1]));
}
function classOf(token, ends) {
  if (refused(token)) return "rep";
  if (!(token.teacher_rank > 0)) return "none";
  return "r" + (1 + ends.findIndex((end) => token.teacher_rank <= end) || ends.length);
}
