"""What a run looks at on its way: the watched prompts token by token, and evaluations."""

from pathlib import Path

from accelerate import Accelerator

from skd_lab.config import RunConfig
from skd_lab.encode import Encoded
from skd_lab.evaluate import evaluate
from skd_lab.files import append_jsonl
from skd_lab.models import Pair
from skd_lab.recording import record_prompts
from skd_lab.records import EvalReport, write_traces
from skd_lab.tasks import Task
from skd_lab.trackers import log_metrics, scores


def is_turn(every: int | None, done: int, steps: int) -> bool:
    """Whether something that is done every so many updates, and at the end, is due."""
    return every is not None and (done == steps or done % every == 0)


def record_watched(
    config: RunConfig, pair: Pair, watched: list[Encoded], run_dir: Path, done: int
) -> None:
    """Append the watched prompts' traces to traces.ndjson."""
    chosen = watched[: config.trace_prompts]
    traces = record_prompts(pair, chosen, config, step=done, run=run_dir.name)
    write_traces(run_dir / "traces.ndjson", traces, append=True)


def evaluate_watched(
    config: RunConfig,
    pair: Pair,
    watched: list[Encoded],
    run_dir: Path,
    done: int,
    task: Task,
    accelerator: Accelerator,
) -> EvalReport:
    """Evaluate on the watched prompts, append the report to eval.jsonl, and give it to trackers."""
    report = evaluate(
        pair,
        task,
        watched[: config.eval_prompts],
        max_new_tokens=config.max_new_tokens,
        accept_top_k=config.top_k_at(done),
        gamma=config.gamma,
        seed=config.seed,
        name=f"step {done}",
    )
    append_jsonl(run_dir / "eval.jsonl", {"step": done, **vars(report)})
    log_metrics(accelerator, "eval", scores(report), done)
    return report
