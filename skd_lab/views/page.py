"""HTML that is safe to show and to keep: escaping, and pages that ask nobody for anything.

Text of tokens, prompts and file names goes through `escape` (server HTML) or `script_json` (data
for a script). A page carries its own style and script; its policy lets it load nothing else.
"""

import base64
import hashlib
import html
import json
import re
from pathlib import Path
from typing import Any

from skd_lab.files import write_text_atomic

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    """The text with control, bidi and invisible characters written out, as [U+202E]."""
    return _HIDDEN.sub(lambda found: f"[U+{ord(found[0]):04X}]", text)


def escape(text: object) -> str:
    """Text for an HTML element or a quoted attribute; hidden characters are written out."""
    return html.escape(visible(str(text)), quote=True)


def script_json(value: Any) -> str:
    """JSON for a script element: no "<" is left, so no text can end the element."""
    return json.dumps(value, ensure_ascii=True).replace("<", "\\u003c")


class Fragment:
    """Something that a notebook shows by itself and that can be kept as a page of its own.

    Args:
        title: of the page; plain text.
        markup: HTML, already escaped. It may use strips (`strip_markup`).
        script: the one script it needs, "" for none.
        text: what a terminal shows.
        style: CSS of the page around it.
    """

    def __init__(
        self, title: str, markup: str, *, script: str = "", text: str = "", style: str = ""
    ) -> None:
        self.title, self.markup, self.script = title, markup, script
        self.text, self.style = text, style

    def __repr__(self) -> str:
        return self.text or f"{type(self).__name__}({self.title!r})"

    def _repr_html_(self) -> str:
        script = f"<script>{self.script}</script>" if self.script else ""
        style = f"<style>{self.style}</style>" if self.style else ""
        return f"{style}{self.markup}{script}"

    def page(self) -> str:
        """A whole HTML document that needs nothing outside itself."""
        digest = base64.b64encode(hashlib.sha256(self.script.encode()).digest()).decode()
        policy = (
            "default-src 'none'; style-src 'unsafe-inline'; "
            f"script-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
        )
        script = f"<script>{self.script}</script>\n" if self.script else ""
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta name="referrer" content="no-referrer">\n'
            f"<title>{escape(self.title)}</title>\n<style>{PAGE_STYLE}{self.style}</style>\n"
            f"</head>\n<body>\n<main>\n{self.markup}\n</main>\n{script}</body>\n</html>\n"
        )

    def save(self, path: str | Path) -> Path:
        """Write the page; returns its path.

        Raises:
            SkdError: if the disk is full or read-only.
        """
        write_text_atomic(path, self.page())
        return Path(path)

    def iframe(self, height: int = 480) -> "Fragment":
        """The page inside a frame of its own, for viewers that keep scripts out of outputs.

        It may run scripts and save files, and has no way to the page around it.
        """
        source = html.escape(self.page(), quote=True)
        markup = (
            f'<iframe sandbox="allow-scripts allow-downloads" title="{escape(self.title)}" '
            f'srcdoc="{source}" style="width:100%;height:{int(height)}px;border:0"></iframe>'
        )
        return Fragment(self.title, markup, text=self.text)


PAGE_STYLE = """
:root { color-scheme: light dark; }
body { margin: 0; background: #fff; color: #16202b; font: 16px/1.6 system-ui, -apple-system,
  "Segoe UI", "Noto Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 24px 48px; }
@media (prefers-color-scheme: dark) { body { background: #12171d; color: #e9eef4; } }
@media (max-width: 520px) { main { padding: 18px 16px 40px; } }
"""
