"""Recordings that come with the package, and the pictures in README; both from bundled pairs.

python docs/make_pictures.py            recordings, then pictures
python docs/make_pictures.py pictures   pictures of the recordings there are

Recording takes seconds on a CPU. Pictures need playwright and a chromium.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import skd_lab as skd
from skd_lab.views import render_strip

ROOT = Path(__file__).parent.parent
TRACES = ROOT / "skd_lab" / "bundled" / "traces"
IMAGES = ROOT / "docs" / "img"
PAIRS = {"tiny-qwen3": "summaries", "tiny-qwen3-arithmetic": "arithmetic"}
ACCEPT_TOP_K, MAX_NEW_TOKENS = 3, 96
LEAST, MOST = 0.05, 0.15
"""A recording is worth showing if this share of it was replaced, and its text came out right."""


def record(name: str, task_name: str, prompts: int = 256, keep: int = 4) -> None:
    """Write a file of the first few completions worth showing, for the app to open with."""
    pair, task = skd.load_pair(name), skd.get_task(task_name)
    examples = task.load("test", n=prompts)
    encoded = skd.encode_examples(pair.tokenizer, examples, max_prompt_tokens=512).encoded
    policy = skd.SamplingPolicy(temperature=1.0)
    uniforms = skd.draw_uniforms(seed=0, rows=len(encoded), max_new_tokens=MAX_NEW_TOKENS)
    asked = dict(accept_top_k=ACCEPT_TOP_K, gamma=5, student_policy=policy, teacher_policy=policy)
    rollouts = skd.interleaved_rollout(
        pair.student,
        pair.teacher,
        [row.prompt_ids for row in encoded],
        max_new_tokens=MAX_NEW_TOKENS,
        eos_token_ids=pair.eos_token_ids,
        vocab_size=pair.vocab_size,
        uniforms=uniforms,
        **asked,
    )
    shares = [rollout.replaced / len(rollout.completion_ids) for rollout in rollouts]
    print(f"{sum(shares) / len(shares):.1%} replaced on average over {len(shares)} prompts")
    texts = [pair.tokenizer.decode(r.completion_ids, skip_special_tokens=True) for r in rollouts]
    chosen = [
        n
        for n, (rollout, share) in enumerate(zip(rollouts, shares, strict=True))
        if rollout.replaced > 1
        and LEAST <= share <= MOST
        and task.score(examples[n], texts[n])[task.headline] == 1
    ][:keep]
    traces = skd.record_traces(
        pair,
        [rollouts[n] for n in chosen],
        uniforms=uniforms[:, chosen],
        seed=0,
        run="recorded",
        **asked,
    )
    path = TRACES / f"tiny-qwen3-{task_name}.ndjson"
    skd.write_traces(path, traces)
    print(f"{path.relative_to(ROOT)}: {len(traces)} completions, {path.stat().st_size:,} bytes")


def picture() -> None:
    """Strips of two recordings with the card of a refused token, light and dark."""
    from playwright.sync_api import sync_playwright

    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    traces = skd.read_traces(TRACES / "tiny-qwen3-summaries.ndjson")[:2]
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = render_strip(traces).save(Path(folder) / "strip.html")
        browser = playwright.chromium.launch(
            executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"]
        )
        for scheme, name in (("light", "strip.png"), ("dark", "strip-dark.png")):
            page = browser.new_page(
                viewport={"width": 1120, "height": 900},
                color_scheme=scheme,
                device_scale_factor=1.5,
            )
            page.goto(page_file.as_uri())
            page.locator(".tok.replaced").first.click()
            page.mouse.move(0, 0)
            page.locator("main").screenshot(path=IMAGES / name)
            print(f"docs/img/{name}: {(IMAGES / name).stat().st_size:,} bytes")
        browser.close()


if __name__ == "__main__":
    if sys.argv[1:] != ["pictures"]:
        for name, task_name in PAIRS.items():
            record(name, task_name)
    picture()
