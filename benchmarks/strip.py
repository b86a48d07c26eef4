"""How long the strip takes in a browser: built, recoloured, streamed. Prints a table.

    python -m benchmarks.strip [--repeats 7]

Times are of JavaScript alone (performance.now around the call), the least of several repeats, as
other work on the machine only adds; "on screen" adds layout and paint (a frame later). Needs
playwright and a chromium.
"""

import argparse
import random
import shutil
import sys

from playwright.sync_api import Page, sync_playwright
from rich.console import Console
from rich.table import Table

from skd_lab.records import Trace, dumps_traces
from skd_lab.views import strip_body

TOP = 20

MEASURE = """async ([body, value, work, repeats]) => {
  const spent = [];
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  const render = new Function("element", "props", "trigger", "watch", body);
  for (let n = 0; n < repeats; n += 1) {
    const host = document.createElement("div"), props = {}, watchers = {};
    document.body.replaceChildren(host);
    const mount = () => render(host, props, () => {}, (name, f) => { watchers[name] = f; });
    const give = (name, next) => { props[name] = next; watchers[name](); };
    const lines = value.split("\\n"), start = { at: 0 };
    if (work === "build") {
      props.value = value;
      start.at = performance.now();
      mount();
    } else if (work === "stream") {
      props.streaming = true;
      props.value = lines[0] + "\\n";
      mount();
      let text = props.value;
      start.at = performance.now();
      for (let at = 1; at < lines.length; at += 10) {
        text += lines.slice(at, at + 10).join("\\n") + "\\n";
        give("value", text);
      }
    } else {
      props.value = value;
      mount();
      await frame();
      start.at = performance.now();
      give(work, work === "k" ? 2 : "kl");
    }
    const script = performance.now() - start.at;
    await frame();
    spent.push([script, performance.now() - start.at]);
  }
  return spent;
}"""


def make_trace(tokens: int, top: int = TOP) -> Trace:
    """A run at K = 10 of 150,000 ids; one proposal of eleven is refused."""
    rng = random.Random(0)
    records = []
    for i in range(tokens):
        refused = i % 11 == 10
        text, other = f" word{rng.randrange(999)}", f" other{rng.randrange(999)}"
        candidates = [[i + n, f" candidate{n}", 0.5 / (n + 1)] for n in range(top)]
        records.append(
            {
                "i": i,
                "source": "teacher" if refused else "student",
                "kept_id": i,
                "kept": text,
                "kept_bytes": text.encode().hex(),
                "proposed_id": 10**6 + i if refused else i,
                "proposed": other if refused else text,
                "proposed_bytes": (other if refused else text).encode().hex(),
                "block": i // 5,
                "teacher_rank": rng.randint(11, 500) if refused else rng.randint(1, 10),
                **{name: rng.random() for name in ("p_student", "p_teacher", "kl")},
                "proposed_p_student": rng.random(),
                "proposed_p_teacher": rng.random() / 10,
                "teacher_draw": {"id": i if refused else -i, "text": text, "p": 0.2},
                "student_top": candidates,
                "teacher_top": candidates,
                "entropy_student": rng.random(),
                "entropy_teacher": rng.random(),
                "discarded": [[7, other]] * 2 if refused else [],
            }
        )
    header = {"schema": "skd-trace/1", "accept_top_k": 10, "vocab_size": 150_000, "gamma": 5}
    return Trace(header=header, tokens=records)


def measure(page: Page, tokens: int, work: str, repeats: int, top: int = TOP) -> list[float]:
    """Least milliseconds of script, and until it is on screen."""
    value = dumps_traces([make_trace(tokens, top)])
    spent = page.evaluate(MEASURE, [strip_body(), value, work, repeats])
    return [min(column) for column in zip(*spent, strict=True)]


WORKS = {
    "build": "built",
    "colour": "recoloured by KL",
    "k": "judged again at K = 2",
    "stream": "streamed by tens",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    if browser_path is None:
        print("No chromium or google-chrome on the path.", file=sys.stderr)
        return 1
    table = Table("tokens", "", "script, ms", "on screen, ms", "a token, \u00b5s")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        for tokens in (300, 1000, 5000):
            for work, words in WORKS.items():
                script, shown = measure(page, tokens, work, repeats)
                row = f"{tokens:,}", words, f"{script:.1f}", f"{shown:.1f}"
                table.add_row(*row, f"{1000 * script / tokens:.1f}")
        table.caption = f"{browser.browser_type.name} {browser.version}, {TOP} candidates a token"
        browser.close()
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
