"""Pictures of the course for README: figures of the notebooks, as their stored outputs have them.

python docs/make_course_pictures.py

Seconds; run it after `make notebooks`. Needs playwright and a chromium.
"""

import json
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "img"
WIDTH = 400  # of a picture, in a browser's pixels: a third of a page, so that words stay readable
FIGURES = {
    "00": "Below each token the rank",
    "01": "Behind the teacher's words the student is rarely lost",
    "02": "Probabilities of seven words",
}
"""Notebook to the beginning of the sentence under its figure."""


def stored(notebook: str, says: str) -> str:
    """The HTML of a figure, by the sentence under it.

    Raises:
        SystemExit: if no output of the notebook, or more than one, has that sentence.
    """
    [path] = (ROOT / "notebooks").glob(f"{notebook}_*.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    outputs = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    found = [
        "".join(data["text/html"])
        for data in outputs
        if "".join(data.get("text/plain", "")).startswith(f"Figure: {says}")
    ]
    if len(found) != 1:
        raise SystemExit(f"{path.name} has {len(found)} figures that say {says!r}; look there.")
    return found[0]


def main() -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox", "--disable-gpu"],
        )
        page = browser.new_page(viewport={"width": WIDTH, "height": 600}, device_scale_factor=2)
        for notebook, says in FIGURES.items():
            html = stored(notebook, says)
            page.set_content(f"<body style='margin:0'><main>{html}</main></body>")
            at = IMAGES / f"course-{notebook}.png"
            page.locator("main").screenshot(path=at)
            print(f"docs/img/{at.name}: {at.stat().st_size:,} bytes")
        browser.close()


if __name__ == "__main__":
    main()
