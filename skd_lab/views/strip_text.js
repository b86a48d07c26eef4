/* Text of tokens to pieces that can be painted: [kind, text] with kind text, space, newline, tab or
   chip. Characters nobody would see become chips, bytes of split characters too. No DOM here. */

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
    const digit = (at) => { const code = hex.charCodeAt(at); return code < 58 ? code - 48 : (code & 7) + 9; };
    for (let at = 0; at < bytes.length; at += 1) bytes[at] = 16 * digit(2 * at) + digit(2 * at + 1);
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

const keptBytes = (token) => bytesOf(token.kept_bytes, token.kept);
const keptPieces = (tokens) => joinedPieces(tokens.map(keptBytes));
const lonePieces = (text, hex) => joinedPieces([bytesOf(hex, String(text ?? ""))])[0];
const proposedPieces = (token) => lonePieces(token.proposed, token.proposed_bytes);

/* The last token before `end` at which decoding can start anew: what follows may still complete a
   character of it, what comes before cannot change. */
function decodeStart(tokens, end) {
  let at = Math.max(0, end - 1);
  while (at > 0 && end - at < 4 && (keptBytes(tokens[at])[0] & 0xc0) === 0x80) at -= 1;
  return at;
}

function spoken(parts) {
  const names = { space: "space", newline: "newline", tab: "tab" };
  return parts.map(([kind, text]) => names[kind] ?? text).join(" ") || "nothing";
}

/* For files and the clipboard: hidden characters written out as [U+202E]. */
const visible = (parts) => parts.map(([kind, text]) => (kind === "chip" && text.startsWith("U+") ? `[${text}]` : text)).join("");
const clean = (text) => visible(pieces(String(text)));
