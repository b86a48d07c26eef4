"""The token strip: refused proposals struck through, the teacher's token beside them.

`strip.js` draws it wherever scripts run; where they do not (mail, a code host), the same element
holds plain <del> and <ins>, and a terminal gets wdiff marks.
"""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from skd_lab.records import Trace, dumps_traces, is_replaced
from skd_lab.views.page import Fragment, escape, script_json, visible


def render_trace(traces: Trace | Sequence[Trace], title: str = "") -> Fragment:
    """The strip of a completion; of several completions, a strip with a choice among them.

    Args:
        traces: from `record_traces` or `read_traces`.
        title: shown above it; plain text.

    Returns:
        An object that a notebook shows by itself, with `save(path)` and `iframe()`.
    """
    traces = [traces] if isinstance(traces, Trace) else list(traces)
    return Fragment(
        title or "Which student tokens did the teacher refuse?",
        strip_markup(traces, title),
        script=boot_script(),
        text="\n\n".join(wdiff(trace) for trace in traces),
    )


def strip_markup(traces: Sequence[Trace], title: str = "") -> str:
    """The element of one strip: fallback text and data. `boot_script` brings it to life."""
    props = {"value": dumps_traces(traces), "title": title}
    return (
        '<div data-skd-strip style="max-width:100%">'
        f"{''.join(_fallback(trace, title) for trace in traces)}"
        f'<script type="application/json">{script_json(props)}</script></div>'
    )


@cache
def strip_body() -> str:
    """The renderer: a JavaScript function body with (element, props, trigger, watch)."""
    here = files("skd_lab.views")
    css, text, card, strip = (
        here.joinpath(name).read_text(encoding="utf-8")
        for name in ("strip.css", "strip_text.js", "strip_card.js", "strip.js")
    )
    return f"{text}\nconst CSS = {script_json(css)};\n{card}\n{strip}"


@cache
def boot_script() -> str:
    """Draws every strip of the document that was not drawn yet; harmless to run twice."""
    return (
        "(() => {\nconst render = function (element, props, trigger, watch) {\n"
        f"{strip_body()}\n}};\n"
        'for (const host of document.querySelectorAll("[data-skd-strip]:not([data-skd-ready])")) {\n'
        '  const data = host.querySelector("script[type=\\"application/json\\"]");\n'
        "  if (!data) continue;\n"
        '  host.dataset.skdReady = "";\n'
        "  render(host, JSON.parse(data.textContent));\n}\n})();"
    )


def wdiff(trace: Trace) -> str:
    """The completion as text: [-refused-]{+what the teacher wrote+}, all else as it was kept."""
    parts = []
    for token in trace.tokens:
        kept = _text(token, "kept")
        refused = f"[-{_text(token, 'proposed')}-]{{+{kept}+}}"
        parts.append(refused if is_replaced(token) else kept)
    return "".join(parts)


def _text(token: dict, which: str) -> str:
    """A token's visible text; bytes that are no whole character are written <0xE2>."""
    text, raw = str(token.get(which, "")), bytes.fromhex(token.get(f"{which}_bytes") or "")
    if "\ufffd" in text and raw:
        text = "".join(
            f"<0x{ord(char) - 0xDC00:02X}>" if 0xDC80 <= ord(char) <= 0xDCFF else char
            for char in raw.decode("utf-8", errors="surrogateescape")
        )
    return visible(text)


def _fallback(trace: Trace, title: str) -> str:
    """What is read where no script runs."""
    parts = []
    for token in trace.tokens:
        kept = escape(_text(token, "kept"))
        if is_replaced(token):
            proposed = escape(_text(token, "proposed"))
            kept = f"<del>{proposed}</del><ins>{kept}</ins>"
        parts.append(kept)
    rate = f"{trace.replaced} of {trace.verified} proposals refused" if trace.verified else ""
    heading = escape(" \u00b7 ".join(part for part in (title, rate) if part))
    return (
        f"<p>{heading}</p>"
        f'<pre style="white-space:pre-wrap;overflow-wrap:anywhere">{"".join(parts)}</pre>'
    )
