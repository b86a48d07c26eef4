"""What a token's colour says, for pictures: the same classes and colours as the page's strip."""

import math
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from skd_lab.views.redecide import ACCEPTED, REPLACED

CHANNELS: dict[str, tuple[str, tuple[float, ...]]] = {
    "rank": ("teacher rank", (1, 5, 25)),
    "p_student": ("student probability", (0.9, 0.5, 0.1)),
    "p_teacher": ("teacher probability", (0.9, 0.5, 0.1)),
    "kl": ("per-token KL", (0.05, 0.5, 2)),
    "entropy_student": ("student entropy", (0.1, 0.5, 1.5)),
    "entropy_teacher": ("teacher entropy", (0.1, 0.5, 1.5)),
}
"""By name: what people call it, and where its four classes part. Probabilities fall, the rest
rises; KL and entropies are in nats."""


def shade(token: Mapping[str, Any], verdict: str, channel: str = "rank") -> str:
    """The class of a token: "r1" (expected) to "r4" (surprising), "cream" for a refusal, or ""."""
    _, cuts = CHANNELS[channel]
    if channel == "rank":
        if verdict == REPLACED:
            return "cream"
        if verdict != ACCEPTED:
            return ""
        return f"r{1 + sum(token['teacher_rank'] > cut for cut in cuts)}"
    value = token.get(channel)
    if not isinstance(value, int | float) or not math.isfinite(value):
        return ""
    falls = cuts[0] > cuts[1]
    return f"r{1 + sum(value < cut if falls else value >= cut for cut in cuts)}"


def shade_words(channel: str, limit: float = math.inf) -> dict[str, str]:
    """What the classes of a channel mean, by class; for ranks only those up to `limit`."""
    _, cuts = CHANNELS[channel]
    if channel == "rank":
        words, low = {}, 1.0
        for n, high in enumerate((*cuts, math.inf), start=1):
            if low <= limit:
                words[f"r{n}"] = f"rank {span(low, min(high, limit))}"
            low = high + 1
        return words
    if cuts[0] > cuts[1]:
        a, b, c = (f"{cut:.0%}" for cut in cuts)
        texts = [f"{a} or more", f"{b[:-1]} to {a}", f"{c[:-1]} to {b}", f"under {c}"]
    else:
        a, b, c = (f"{cut:g}" for cut in cuts)
        texts = [f"under {a} nats", f"{a} to {b}", f"{b} to {c}", f"{c} nats or more"]
    return {f"r{n}": text for n, text in enumerate(texts, start=1)}


def span(low: float, high: float) -> str:
    """ "6 to 25", "1", "26 and on"."""
    if high == low:
        return f"{low:,.0f}"
    return f"{low:,.0f} and on" if math.isinf(high) else f"{low:,.0f} to {high:,.0f}"


@cache
def palette(theme: str = "light") -> dict[str, str]:
    """The strip's colours by name ("r1", "cream", "rust", ...), read from its style sheet.

    Args:
        theme: "light" or "dark".
    """
    css = files("skd_lab.views").joinpath("strip.css").read_text(encoding="utf-8")
    start = css.index('[data-theme="dark"]') if theme == "dark" else css.index(".skd {")
    block = css[start : css.index("}", start)]
    return dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", block))
