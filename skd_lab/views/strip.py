"""The token strip: refused proposals struck through, the teacher's token beside them.

`strip.js` draws it wherever scripts run; where they do not (mail, a code host), the same element
holds plain <del> and <ins>, and a terminal gets word-diff marks.
"""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from skd_lab.records import Trace, dumps_traces, is_replaced
from skd_lab.views.page import Fragment, escape, script_json
from skd_lab.views.text import kept_texts, token_text, wdiff


def render_strip(traces: Trace | Sequence[Trace], title: str | None = None) -> Fragment:
    """The strip of one completion, or of several below each other.

    Args:
        traces: from `record_traces` or `read_traces`.
        title: shown above; plain text.

    Returns:
        An object that a notebook shows by itself, with `save(path)` (one self-contained page)
        and `iframe()`; printed, it is the text with [-refused-]{+replaced+} marks.
    """
    traces = [traces] if isinstance(traces, Trace) else list(traces)
    return Fragment(
        title or "Which student tokens did the teacher refuse?",
        strip_markup(traces, title or ""),
        script=boot_script(),
        text="\n\n".join(wdiff(trace) for trace in traces),
    )


def strip_markup(traces: Sequence[Trace], title: str = "") -> str:
    """The element of one strip: fallback text and data. `boot_script` brings it to life."""
    props = {"value": dumps_traces(traces), "title": title}
    heading = f"<h2>{escape(title)}</h2>" if title else ""
    return (
        f"<div data-skd-strip>{heading}{''.join(_fallback(trace) for trace in traces)}"
        f'<script type="application/json">{script_json(props)}</script></div>'
    )


@cache
def strip_body() -> str:
    """The renderer: a JavaScript function body with (element, props, trigger, watch).

    It is all that another host needs (gradio's `gr.HTML(js_on_load=strip_body())`): `props.value`
    is the NDJSON text of traces, `props.title` a heading or nothing.
    """
    css = _source("strip.css") + _source("card.css")
    scripts = ("strip_model.js", "strip_card.js", "strip.js", "strip_keys.js")
    return "\n".join([f"const CSS = {script_json(css)};", *map(_source, scripts)])


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
