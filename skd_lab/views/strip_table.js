/* The same records as a table: everything the colours say, in words and numbers. */

const COLUMNS = ["#", "token", "proposed", "verdict", "teacher rank", "p student", "p teacher", "KL, nats", "block"];

function drawTable(index) {
  const trace = state.traces[index], own = state.strips[index], body = el("tbody");
  const number = (value, places) => (finite(value) === null ? "–" : value.toFixed(places));
  for (let place = 0; place < own.shown; place += 1) {
    const now = standing(trace, place, own), { token } = now;
    const verdict = { accepted: "accepted", replaced: "replaced", plain: "not judged" }[now.verdict];
    const mark = el("span", `swatch ${shadeOf(token, now.verdict, view.colour)}`);
    const heads = el("th", "", `${token.i}`);
    heads.scope = "row";
    body.append(el("tr", `${now.verdict}${now.uncertain ? " hatched" : ""}`, heads,
      el("td", "text", mark, quote(now.parts, "quote")),
      now.verdict === "replaced" ? el("td", "text", quote(proposedPieces(token), "quote del")) : el("td", "text", ""),
      el("td", "", now.uncertain ? `${verdict}, uncertain` : verdict), el("td", "n", token.teacher_rank > 0 ? whole(token.teacher_rank) : "–"),
      el("td", "n", percent(token.p_student)), el("td", "n", percent(token.p_teacher)), el("td", "n", number(token.kl, 3)), el("td", "n", token.block >= 0 ? `${token.block}` : "–")));
  }
  const head = el("tr", "", ...COLUMNS.map((name) => { const one = el("th", "", name); one.scope = "col"; return one; }));
  const table = el("table", "", el("caption", "spoken", `Tokens of ${traceName(trace.header, index)}`), el("thead", "", head), body);
  own.table.tabIndex = 0; // a wide table scrolls, by keys too
  own.table.setAttribute("role", "region");
  own.table.setAttribute("aria-label", `Table of ${traceName(trace.header, index)}`);
  own.table.replaceChildren(table);
}
