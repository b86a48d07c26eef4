/* What a browser can write by itself: the page, the records, a table, text, a picture, a link. */

const slug = () => String(props.title || state?.traces[0]?.header.run || "strip").toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 60) || "strip";

function saveMenu() {
  const menu = el("details", "menu"), panel = el("div", "panel");
  menu.append(el("summary", "plainer", "Save"), panel);
  const says = el("p", "says");
  says.setAttribute("role", "status");
  const item = (words, work) => panel.append(button("", words, async () => {
    says.textContent = "";
    try { says.textContent = (await work()) ?? ""; } catch (error) { says.textContent = `That did not work: ${error?.message ?? error}`; }
  }));
  if (OWN_SOURCE && globalThis.crypto?.subtle) item("Page (HTML)", async () => download("html", "text/html", await pageText()));
  item("Picture (PNG)", async () => download("png", "image/png", await picture()));
  item("Records (NDJSON)", () => download("ndjson", "application/x-ndjson", ndjson()));
  item("Records (JSON)", () => download("json", "application/json", JSON.stringify(state.traces, null, 1)));
  item("Table (CSV)", () => download("csv", "text/csv", csv()));
  item("Text", () => download("txt", "text/plain", state.traces.map(marked).join("\n\n")));
  if (props.permalink) item("Copy a link to this view", async () => { savePlace(); await navigator.clipboard.writeText(location.toString()); return "Copied."; });
  panel.append(says);
  return menu;
}

/* The file goes straight from this page to the disk; nothing is asked of any server. */
function download(suffix, type, content) {
  const link = el("a"), url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type: `${type};charset=utf-8` }));
  link.setAttribute("href", url);
  link.download = `${slug()}.${suffix}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
  return `${link.download} is saved.`;
}

const ndjson = () => state.traces.flatMap((trace) => [trace.header, ...trace.tokens]).map((line) => `${JSON.stringify(line)}\n`).join("");

/* The text with [-refused-]{+replaced+} marks. */
function marked(trace) {
  const parts = keptPieces(trace.tokens);
  return trace.tokens.map((token, place) => {
    const kept = visible(parts[place]);
    return isReplaced(token) ? `[-${visible(proposedPieces(token))}-]{+${kept}+}` : kept;
  }).join("");
}

const CSV_FIELDS = ["trace", "i", "source", "kept_id", "kept", "proposed_id", "proposed", "teacher_rank", "block", "p_student", "p_teacher",
  "proposed_p_student", "proposed_p_teacher", "kl", "entropy_student", "entropy_teacher"];

/* A cell that starts like a formula gets a quote mark before it, so that no sheet runs it. */
function csvCell(value) {
  let text = value === null || value === undefined ? "" : String(value);
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function csv() {
  const rows = state.traces.flatMap((trace, index) => trace.tokens.map((token) => CSV_FIELDS.map((name) =>
    csvCell(name === "trace" ? index : ["kept", "proposed"].includes(name) ? visible(lonePieces(token[name], token[`${name}_bytes`])) : token[name]))));
  return [CSV_FIELDS, ...rows].map((row) => `${row.join(",")}\r\n`).join("");
}

/* --- the page --- */

/* This very function, as text: a saved page draws its strip with the same code. */
const OWN_SOURCE = (() => { try { return Function.prototype.toString.call(arguments.callee); } catch { return null; } })();

const escaped = (text) => text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);

async function pageText() {
  const names = /\(([^)]*)\)/.exec(OWN_SOURCE)[1].replace(/\/\*[^]*?\*\//g, "").split(",").map((name) => name.trim());
  const own = { value: ndjson(), title: props.title ?? "", k: view.k, colour: view.colour, layout: view.layout, permalink: true };
  const data = JSON.stringify(own).replace(/[<\u2028\u2029]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
  const boot = `(() => { const render = ${OWN_SOURCE}; const names = ${JSON.stringify(names)};
for (const element of document.querySelectorAll("[data-skd-strip]")) {
  const props = JSON.parse(element.querySelector('script[type="application/json"]').textContent), given = { element, props };
  render(...names.map((name) => given[name]));
} })();`;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(boot)));
  const policy = `default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-${btoa(String.fromCharCode(...digest))}'; img-src data:; base-uri 'none'; form-action 'none'`;
  const open = "<script", close = "<\/script>", title = escaped(clean(props.title || "Token strip"));
  const texts = state.traces.map((trace) => `<pre style="white-space:pre-wrap">${escaped(marked(trace))}</pre>`).join("");
  return `<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="referrer" content="no-referrer"><title>${title}</title>
<style>:root{color-scheme:light dark}body{margin:0;background:#fff;color:#16202b;font:16px/1.6 system-ui,sans-serif}main{max-width:1120px;margin:0 auto;padding:28px 24px}
@media (prefers-color-scheme:dark){body{background:#12171d;color:#e9eef4}}</style></head>
<body><main><div data-skd-strip><h2>${title}</h2>${texts}${open} type="application/json">${data}${close}</div></main>${open}>${boot}${close}</body></html>\n`;
}

/* --- the picture --- */

/* The text as it stands, in light colours, at twice the size: drawn by the browser through an SVG. */
async function picture() {
  const box = el("div", "skd shot"), sheet = el("style"), scale = 2, width = Math.max(480, Math.min(900, Math.round(state.main.clientWidth)));
  box.dataset.theme = "light";
  box.dataset.colour = view.colour;
  box.dataset.layout = view.layout === "table" ? "inline" : view.layout;
  if (props.title) box.append(el("h2", "head2", clean(props.title)));
  state.strips.forEach((own) => {
    const part = el("section", "trace"), text = own.text.cloneNode(true), key = own.legend.cloneNode(true);
    part.append(own.box.querySelector(".name").cloneNode(true), key, own.sum.cloneNode(true), text);
    box.append(part);
  });
  sheet.textContent = CSS;
  box.style.width = `${width}px`;
  const probe = el("div", "probe", box);
  frame.append(probe);
  const height = Math.ceil(box.getBoundingClientRect().height);
  probe.remove();
  const body = new XMLSerializer().serializeToString(el("div", "", sheet, box));
  const svg = `<svg xmlns="${SVG}" width="${width}" height="${height}"><foreignObject width="100%" height="100%">${body}</foreignObject></svg>`;
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  await image.decode();
  const canvas = el("canvas"), fit = Math.min(scale, 16000 / height);
  canvas.width = width * fit;
  canvas.height = height * fit;
  const pen = canvas.getContext("2d");
  pen.scale(fit, fit);
  pen.fillStyle = "#ffffff";
  pen.fillRect(0, 0, width, height);
  pen.drawImage(image, 0, 0);
  return new Promise((done, fail) => canvas.toBlob((blob) => (blob ? done(blob) : fail(new Error("the browser made no picture"))), "image/png"));
}
