"""Pictures of the app for README and docs/app.md: recordings, a small run, some tabs.

python docs/make_app_pictures.py

About a minute on a CPU. Needs playwright and a chromium.
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from playwright.sync_api import Browser, Page, sync_playwright

import skd_lab as skd
from skd_lab.app import build_app, launch

IMAGES = Path(__file__).parent / "img"
WIDE, PHONE = {"width": 1200, "height": 860}, {"width": 390, "height": 844}


def main() -> None:
    # small models are slower on two threads
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox", "--disable-gpu"],
        )
        recorded = build_app(f"{folder}/nothing")
        url = launch(recorded, prevent_thread_lock=True, quiet=True)[1]
        shoot(browser, url, "watch", WIDE, "light", choose_refused)
        shoot(browser, url, "step", WIDE, "light", step_on)
        shoot(browser, url, "compare", WIDE, "dark", run_and_wait)
        shoot(browser, url, "learn", WIDE, "light")
        shoot(browser, url, "watch", PHONE, "dark", choose_refused, name="phone")
        recorded.close()
        skd.train(
            skd.with_preset(
                {
                    "accept_top_k": 1,
                    "steps": 120,
                    "trace_every": 20,
                    "trace_prompts": 8,
                    "run_dir": f"{folder}/skd",
                }
            ),
            progress=False,
        )
        trained = build_app(folder)
        url = launch(trained, prevent_thread_lock=True, quiet=True)[1]
        shoot(browser, url, "lapse", WIDE, "light")
        trained.close()
        browser.close()


def shoot(
    browser: Browser,
    url: str,
    tab: str,
    size: dict[str, int],
    scheme: str,
    prepare: Callable[[Page], None] = lambda page: None,
    name: str = "",
) -> None:
    """One picture of one tab."""
    page = browser.new_page(viewport=size, color_scheme=scheme, device_scale_factor=1.25)
    page.goto(f"{url}?__theme={scheme}#{tab}")
    page.wait_for_timeout(4000)
    prepare(page)
    page.wait_for_timeout(800)
    path = IMAGES / f"app-{name or tab}.png"
    page.screenshot(path=path, full_page=size is WIDE)
    print(f"docs/img/{path.name}: {path.stat().st_size:,} bytes")
    page.close()


def choose_refused(page: Page) -> None:
    """The strip in view, the card of its first refused token open."""
    token = page.locator(".tok.replaced:visible").first
    token.scroll_into_view_if_needed()
    token.click()
    page.mouse.move(0, 0)


def step_on(page: Page) -> None:
    """Some steps on."""
    for _ in range(7):
        page.get_by_role("button", name="One step on").click()


def run_and_wait(page: Page) -> None:
    """Let the models write."""
    page.get_by_role("button", name="Run", exact=True).first.click()
    page.locator(".tok:visible").first.wait_for(timeout=60_000)
    page.wait_for_timeout(6000)


if __name__ == "__main__":
    main()
