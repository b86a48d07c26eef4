"""The demo: three ways to distil one tiny student, side by side, at equal updates.

By default 1,000 prompts of summaries, each with several valid answers.
"""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skd_lab.config import RunConfig
from skd_lab.encode import Encoded, encode_examples
from skd_lab.evaluate import evaluate, evaluate_generator
from skd_lab.files import append_jsonl, write_json_atomic
from skd_lab.models import Pair, load_pair
from skd_lab.presets import with_preset
from skd_lab.records import EvalReport
from skd_lab.tasks import Task, get_task
from skd_lab.train import train

METHODS = ("supervised_kd", "on_policy_kd", "skd")
"""In the order of the table; the last one's run folder is the demo's own."""

_CHOSEN = {
    "summaries": (
        "each with several valid answers, equal updates for every method, one seed. In other "
        "settings they may end level, or in another order."
    )
}
_OTHER = "equal updates for every method."


def setting_of(config: RunConfig) -> str:
    """What every showing of a demo's table has to say."""
    return f"{config.n_prompts} prompts of {config.task}, {_CHOSEN.get(config.task, _OTHER)}"


@dataclass(frozen=True, kw_only=True)
class DemoRow:
    """One line of the demo's table."""

    name: str
    report: EvalReport
    cpu_seconds: float | None
    """Process time of the training updates; None where nothing was trained."""
    replacement_rate_at_start: float

    def to_dict(self) -> dict[str, Any]:
        """As written to table.json."""
        metric, score = next(iter(self.report.metrics.items()))
        return {
            "name": self.name,
            "metric": metric,
            **score,
            "n": self.report.n,
            "kl_references": self.report.kl_references,
            "kl_samples": self.report.kl_samples,
            "replacement_rate_at_start": self.replacement_rate_at_start,
            "replacement_rate": self.report.replacement_rate,
            "cpu_seconds": self.cpu_seconds,
        }


def run_demo(
    run_dir: str | Path = "runs/demo",
    *,
    pair_name: str = "tiny-qwen3",
    steps: int = 200,
    prompts: int = 300,
    seed: int = 0,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> list[DemoRow]:
    """Distil the bundled student by every method of METHODS and evaluate all of them.

    Args:
        run_dir: the skd run; the other methods' runs stand beside it. Earlier demos there are
            replaced.
        pair_name: a bundled pair.
        steps: optimizer updates of each method.
        prompts: held-out prompts of the evaluation.
        seed: keys uniforms, the order of prompts and the bootstrap.
        progress: show bars.
        say: told in a sentence what happens next.

    Returns:
        Rows start, the methods, teacher; also written to run_dir/table.json.
    """
    began = time.perf_counter()
    run_dir = Path(run_dir)
    pair = load_pair(pair_name)
    say(pair.report)
    configs = {
        method: with_preset(
            {
                "pair": pair_name,
                "method": method,
                "steps": steps,
                "seed": seed,
                "run_dir": str(run_dir if method == METHODS[-1] else f"{run_dir}-{method}"),
                "overwrite": True,
                "save_every": steps,
                "trace_every": max(1, steps // 4),
                "trace_prompts": 8,
            }
        )
        for method in METHODS
    }
    some = configs[METHODS[-1]]
    task = get_task(some.task)
    held_out = encode_examples(
        pair.tokenizer,
        task.load("test", prompts),
        max_prompt_tokens=some.max_prompt_tokens,
        over_long="error",
        eos_token_ids=pair.eos_token_ids,
        vocab_size=pair.vocab_size,
    ).encoded
    judge = _Judge(pair, task, held_out, some)
    say(f"start: evaluating the untrained student on {len(held_out)} held-out prompts")
    first = judge.student("start")
    rows = [_row("start", first, None, first)]
    start = copy.deepcopy(pair.student.state_dict())
    for method, config in configs.items():
        pair.student.load_state_dict(start)
        result = train(config, pair=pair, progress=progress)
        cpu = sum(record.metrics["cpu_seconds"] for record in result.steps)
        say(f"{method}: {steps} updates in {cpu:.0f} CPU seconds; evaluating")
        report = judge.student(method)
        append_jsonl(Path(config.run_dir) / "eval.jsonl", {"step": steps, **vars(report)})
        rows.append(_row(method, report, cpu, first))
    say("teacher: evaluating")
    rows.append(_row("teacher", judge.teacher(), None, None))
    write_json_atomic(
        run_dir / "table.json",
        {
            "setting": setting_of(some),
            "steps": steps,
            "seconds": time.perf_counter() - began,
            "rows": [row.to_dict() for row in rows],
        },
    )
    return rows


class _Judge:
    """The same prompts, uniforms and settings for every row."""

    def __init__(
        self, pair: Pair, task: Task, held_out: Sequence[Encoded], config: RunConfig
    ) -> None:
        self.pair, self.task, self.held_out, self.config = pair, task, held_out, config

    def student(self, name: str) -> EvalReport:
        return evaluate(
            self.pair,
            self.task,
            self.held_out,
            max_new_tokens=self.config.max_new_tokens,
            accept_top_k=self.config.top_k_at(self.config.steps),
            gamma=self.config.gamma,
            seed=self.config.seed,
            batch_size=100,
            name=name,
        )

    def teacher(self) -> EvalReport:
        return evaluate_generator(
            self.pair.teacher,
            self.pair,
            self.task,
            self.held_out,
            max_new_tokens=self.config.max_new_tokens,
            seed=self.config.seed,
            batch_size=100,
            name="teacher",
        )


def _row(name: str, report: EvalReport, cpu: float | None, first: EvalReport | None) -> DemoRow:
    return DemoRow(
        name=name,
        report=report,
        cpu_seconds=cpu,
        replacement_rate_at_start=float("nan") if first is None else first.replacement_rate,
    )
