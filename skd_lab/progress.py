"""How far a run is: a bar on a terminal and in a notebook, a line now and then in a log file.

Everything goes to stderr; stdout is for results.
"""

import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from skd_lab.config import RunConfig
from skd_lab.encode import EncodeReport


class Progress:
    """What a run says of itself while it goes.

    Args:
        config: of the run: its method, updates and prompts an update.
        data: counts of the prompts kept, cut and dropped.
        done: updates done before.
        shown: say anything at all.
    """

    def __init__(
        self, config: RunConfig, data: EncodeReport, done: int, shown: bool = True
    ) -> None:
        self.method, self.steps, self.done, self.shown = config.method, config.steps, done, shown
        self.first, self.began = done, time.monotonic()
        self.said = self.began
        self.lines = not (_in_notebook() or sys.stderr.isatty())
        going_on = f", going on after update {done}" if done else ""
        self._say(
            f"{config.method}: {_counts(data)}; {config.steps} updates of {config.batch_size}"
            f"{going_on}"
        )
        self.bar = tqdm(
            total=config.steps,
            initial=done,
            desc=config.method,
            unit="update",
            disable=self.lines or not shown,
            dynamic_ncols=True,
        )

    def update(self, metrics: Mapping[str, float]) -> None:
        """One more update is done; shows the loss, the share of replaced tokens and the speed."""
        self.done += 1
        shown = measured(metrics)
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update()
        now = time.monotonic()
        if self.lines and (self.done == self.steps or now - self.said >= self._pause(now)):
            self.said = now
            left = (now - self.began) / (self.done - self.first) * (self.steps - self.done)
            self._say(
                f"{self.method} {self.done}/{self.steps}  "
                + "  ".join(f"{name} {value}" for name, value in shown.items())
                + f"  {_clock(now - self.began)} so far, {_clock(left)} to go"
            )

    def finish(self, student: Path) -> None:
        """All updates are done; says where the student is."""
        self.bar.close()
        took = _clock(time.monotonic() - self.began)
        self._say(f"{self.method}: {self.done} updates done, {took}; the student is in {student}")

    def close(self) -> None:
        """Leave the bar as it stands."""
        self.bar.close()

    def _pause(self, now: float) -> float:
        """Seconds between two lines: more of them while a run is young."""
        return max(10.0, (now - self.began) / 50)

    def _say(self, text: str) -> None:
        if self.shown:
            print(text, file=sys.stderr, flush=True)


def measured(metrics: Mapping[str, float]) -> dict[str, str]:
    """Loss in nats, share of replaced tokens, tokens a second: those there are, for people."""
    texts = {
        "loss": ("loss", "{:.3f}"),
        "replaced": ("replacement_rate", "{:.1%}"),
        "tokens/s": ("tokens_per_second", "{:,.0f}"),
    }
    return {
        label: form.format(metrics[name])
        for label, (name, form) in texts.items()
        if math.isfinite(metrics.get(name, math.nan))
    }


def _counts(data: EncodeReport) -> str:
    """What became of the prompts, in words."""
    text = f"{data.kept} of {data.total} prompts"
    if data.cut:
        text += f" ({data.cut} of them cut at the start)"
    if data.dropped:
        text += f", {data.dropped} too long and left out"
    if data.references_cut:
        text += f", references cut at the end: {data.references_cut}"
    if chats := data.chats_with_history:
        text += f", chats of which only the last answer is trained: {chats}"
    return text


def _clock(seconds: float) -> str:
    return str(tqdm.format_interval(seconds))


def _in_notebook() -> bool:
    """Whether a kernel runs this: there a bar is a widget, whatever stderr is."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return hasattr(shell, "kernel")
