"""Tokens as text: whole characters from split bytes, and the refusals as word-diff marks."""

from collections.abc import Sequence
from typing import Any

from skd_lab.records import Trace, is_replaced
from skd_lab.views.page import visible


def token_text(token: dict[str, Any], which: str = "kept") -> str:
    """One token alone, its hidden characters written out and torn bytes as <0xE2>.

    Args:
        token: a token record.
        which: "kept" or "proposed".
    """
    return visible(_joined([_raw(token, which)])[0])


def kept_texts(tokens: Sequence[dict[str, Any]]) -> list[str]:
    """Text of every kept token, hidden characters written out.

    A character whose bytes are split over tokens stands whole at the first of them; the others
    may be "".
    """
    return [visible(text) for text in _joined([_raw(token, "kept") for token in tokens])]


def wdiff(trace: Trace) -> str:
    """The completion as text: [-refused-]{+what the teacher wrote+}, all else as it was kept."""
    parts = []
    for token, kept in zip(trace.tokens, kept_texts(trace.tokens), strict=True):
        if is_replaced(token):
            kept = f"[-{token_text(token, 'proposed')}-]{{+{kept or token_text(token)}+}}"
        parts.append(kept)
    return "".join(parts)


def _raw(token: dict[str, Any], which: str) -> bytes:
    try:
        raw = bytes.fromhex(token.get(f"{which}_bytes") or "")
    except (TypeError, ValueError):
        raw = b""
    return raw or str(token.get(which, "")).encode("utf-8", "surrogatepass")


def _joined(raws: Sequence[bytes]) -> list[str]:
    """Decode the bytes together; each character goes to the token that holds its first byte."""
    owners = [owner for owner, raw in enumerate(raws) for _ in raw]
    texts = [""] * len(raws)
    at = 0
    for char in b"".join(raws).decode("utf-8", "surrogateescape"):
        torn = 0xDC80 <= ord(char) <= 0xDCFF
        texts[owners[at]] += f"<0x{ord(char) - 0xDC00:02X}>" if torn else char
        at += 1 if torn else len(char.encode())
    return texts
