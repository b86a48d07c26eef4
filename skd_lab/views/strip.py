"""The token strip: refused proposals struck through, the teacher's token beside them.

`strip.js` draws it wherever scripts run; where they do not (mail, a code host), the same element
holds plain <del> and <ins>, and a terminal gets word-diff marks.
"""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from skd_lab.errors import UsageError
from skd_lab.files import write_text_atomic
from skd_lab.records import Trace, dumps_traces, is_replaced
from skd_lab.views.exports import traces_to_csv, traces_to_json, traces_to_text
from skd_lab.views.page import Fragment, escape, script_json
from skd_lab.views.picture import save_strip_picture
from skd_lab.views.shades import CHANNELS
from skd_lab.views.text import kept_texts, token_text, wdiff

LAYOUTS = ("inline", "stacked", "plain", "table")


def render_strip(
    traces: Trace | Sequence[Trace],
    title: str | None = None,
    *,
    k: int | None = None,
    colour: str = "rank",
    layout: str = "inline",
    selected: tuple[int, int] | None = None,
) -> "StripView":
    """The strip of one completion, or of several below each other.

    Args:
        traces: from `record_traces` or `read_traces`.
        title: shown above; plain text.
        k: judge the records again with this K at first; as recorded if None. The reader can move
            it, as well as what follows.
        colour: what colours say: "rank", "p_student", "p_teacher", "kl", "entropy_student" or
            "entropy_teacher".
        layout: "inline" (refused and written side by side), "stacked", "plain" or "table".
        selected: (trace, i) of a token whose card is open at first.

    Returns:
        An object that a notebook shows by itself, with `save(path)` and `iframe()`; printed, it
        is the text with [-refused-]{+replaced+} marks.

    Raises:
        UsageError: an unknown colour or layout, or a K below 1.
    """
    for name, value, known in (("colour", colour, CHANNELS), ("layout", layout, LAYOUTS)):
        if value not in known:
            raise UsageError(f"{name} is {value!r}. Use one of {', '.join(known)}.")
    if k is not None and k < 1:
        raise UsageError(f"k is {k}. Use 1 or more: the teacher keeps its k most likely tokens.")
    usual = {"k": None, "colour": "rank", "layout": "inline", "selected": None}
    chosen = {"k": k, "colour": colour, "layout": layout, "selected": selected}
    return StripView(
        [traces] if isinstance(traces, Trace) else list(traces),
        title,
        {name: value for name, value in chosen.items() if value != usual[name]},
    )


class StripView(Fragment):
    """A strip that a notebook shows by itself and that can be kept; made by `render_strip`.

    Args:
        traces: what it shows.
        title: above it, or None.
        props: as in `strip_body`.
    """

    def __init__(
        self, traces: Sequence[Trace], title: str | None = None, props: dict[str, Any] | None = None
    ) -> None:
        self.traces, self.props = list(traces), props or {}
        self.heading = title or ""
        super().__init__(
            title or "Which student tokens did the teacher refuse?",
            strip_markup(traces, self.heading, **self.props),
            script=boot_script(),
            text="\n\n".join(wdiff(trace) for trace in traces),
        )

    def page(self) -> str:
        """A whole HTML document that needs nothing outside itself; its address tells the view."""
        markup = strip_markup(self.traces, self.heading, **{**self.props, "permalink": True})
        return Fragment(self.title, markup, script=self.script, style=self.style).page()

    def iframe(self, height: int = 680) -> Fragment:
        """The page in a frame of its own, for viewers that keep scripts out of outputs."""
        return super().iframe(height)

    def save(self, path: str | Path) -> Path:
        """Write the strip to a file; its suffix says how.

        Args:
            path: .html (a page that reads back with `read_traces`), .ndjson, .json, .csv, .txt, or
                a picture: .png, .svg, .pdf. A long picture has several pages; of a PNG or SVG
                they are files of their own, name-2.png and so on.

        Returns:
            The path; of a picture with several files, the first.

        Raises:
            UsageError: an unknown suffix.
            SkdError: if the disk is full or read-only.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        writers = {
            ".html": lambda traces: self.page(),
            ".htm": lambda traces: self.page(),
            ".ndjson": dumps_traces,
            ".json": traces_to_json,
            ".csv": traces_to_csv,
            ".txt": traces_to_text,
        }
        if suffix in writers:
            write_text_atomic(path, writers[suffix](self.traces))
            return path
        if suffix in (".png", ".svg", ".pdf"):
            colour, k = self.props.get("colour", "rank"), self.props.get("k")
            return save_strip_picture(self.traces, path, title=self.heading, colour=colour, k=k)
        raise UsageError(
            f"{path.name}: a strip cannot be saved as {suffix or 'a file without a suffix'}. "
            f"Use one of {', '.join([*writers, '.png', '.svg', '.pdf'])}."
        )


def save_traces(
    traces: Trace | Sequence[Trace], path: str | Path, title: str | None = None
) -> Path:
    """Write traces as a page, records, a table, text or a picture; see `StripView.save`."""
    return render_strip(traces, title).save(path)


def strip_markup(traces: Sequence[Trace], title: str = "", **props: Any) -> str:
    """The element of one strip: fallback text and data. `boot_script` brings it to life.

    Args:
        traces: what it shows.
        title: above it, plain text.
        props: further props, as in `strip_body`.
    """
    data = {"value": dumps_traces(traces), "title": title, **props}
    heading = f"<h2>{escape(title)}</h2>" if title else ""
    return (
        f"<div data-skd-strip>{heading}{''.join(_fallback(trace) for trace in traces)}"
        f'<script type="application/json">{script_json(data)}</script></div>'
    )


PARTS = [
    *("strip_text", "strip_model", "strip_colour", "strip_paint", "strip_card", "strip"),
    *("strip_select", "strip_legend", "strip_table", "strip_knob", "strip_guess", "strip_save"),
    *("strip_keys", "strip_start"),
]
"""Scripts of the renderer, in the order in which they stand in its one function."""


@cache
def strip_body() -> str:
    """The renderer: a JavaScript function body with (element, props, trigger, watch).

    It is all that another host needs (gradio's `gr.HTML(js_on_load=strip_body())`). Props, each of
    them watched: `value` (NDJSON text of traces; while it grows at its end, nothing drawn is
    rebuilt), `title`, `layout`, `colour`, `k` (null: as recorded), `selected` ([trace, i]),
    `highlight` ({"rank": [low, high]} or {"tokens": [[trace, i], ...]}), `actions` (events that the
    host handles: "rerun", "branch"), `streaming`, `predict`, `controls`, `compact`, `permalink`.
    Events: "pick" {trace, i}, "unpick" {}, "k_change" {k}, "rerun" {trace, start, k},
    "branch" {trace, i, who, token_id}, "view_change" {colour, layout},
    "guess" {trace, found, missed, wrong}.
    """
    css = "".join(_source(f"{name}.css") for name in ("strip", "card", "knob"))
    return "\n".join([f"const CSS = {script_json(css)};", *(_source(f"{n}.js") for n in PARTS)])


@cache
def boot_script() -> str:
    """Draws every strip of the document that is not drawn yet; harmless to run again."""
    return f"""(() => {{
const render = function (element, props, trigger, watch) {{
{strip_body()}
}};
for (const host of document.querySelectorAll("[data-skd-strip]")) {{
  const data = host.querySelector('script[type="application/json"]');
  if (data && !host.shadowRoot) render(host, JSON.parse(data.textContent));
}}
}})();"""


def _source(name: str) -> str:
    return files("skd_lab.views").joinpath(name).read_text(encoding="utf-8")


def _fallback(trace: Trace) -> str:
    """What is read where no script runs."""
    parts = []
    for token, kept in zip(trace.tokens, kept_texts(trace.tokens), strict=True):
        if is_replaced(token):
            refused = escape(token_text(token, "proposed"))
            parts.append(f"<del>{refused}</del><ins>{escape(kept or token_text(token))}</ins>")
        else:
            parts.append(escape(kept))
    header = trace.header
    counts = f"{trace.replaced} of {trace.verified} proposals refused and replaced"
    facts = [str(header["method"])] if header.get("method") else []
    facts += [counts] if trace.verified else []
    return (
        f"<p>{escape(' · '.join(facts))}</p>"
        f'<pre style="white-space:pre-wrap;overflow-wrap:anywhere">{"".join(parts)}</pre>'
    )
