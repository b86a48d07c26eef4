"""skd-lab evaluate: a student's held-out score and its distance to the teacher."""

import argparse
import json
from pathlib import Path
from typing import Any

from skd_lab.cli.flags import MODEL_FLAGS, add_config_flags, config_from, read_config, whole_number
from skd_lab.errors import UsageError

_FLAGS = (
    *MODEL_FLAGS,
    *("task", "data_path", "max_prompt_tokens", "over_long"),
    *("accept_top_k", "gamma", "max_new_tokens", "seed"),
)


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "evaluate",
        help="Score a student on held-out prompts.",
        description="Score a student's greedy completions of held-out prompts, and measure its "
        "distance to the teacher on references and on its own samples.",
    )
    parser.add_argument(
        "--run",
        dest="run_folder",
        type=Path,
        metavar="FOLDER",
        help="Evaluate the student of this run.",
    )
    parser.add_argument("--split", default="test", metavar="NAME", help="Split (default test).")
    parser.add_argument(
        "--n", type=whole_number, default=300, metavar="N", help="Prompts (default 300)."
    )
    parser.add_argument(
        "--eval-batch-size",
        type=whole_number,
        default=64,
        metavar="N",
        help="Rows at once; changes cost, not the report (default 64).",
    )
    parser.add_argument("--json", action="store_true", help="Print the report as JSON.")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="Write the report as JSON to a file."
    )
    add_config_flags(parser, only=_FLAGS)


def run(args: argparse.Namespace) -> int:
    config = config_from(args, _of_run(args.run_folder) if args.run_folder else None)

    from skd_lab.evaluate import evaluate
    from skd_lab.files import write_text_atomic
    from skd_lab.prepare import encode_for, pair_for
    from skd_lab.tasks import get_task

    task = get_task(config.task)
    examples = task.load(args.split, args.n, data_path=config.data_path)
    if not examples:
        raise UsageError(
            f"Task {task.name} has no prompts in its {args.split} split here; a file with few "
            "different prompts holds none out. Use --split train, or a longer file."
        )
    pair = pair_for(config)
    data = encode_for(pair, examples, config)
    if not data.encoded:
        raise UsageError(
            f"No prompt is left: {data.dropped} of {data.total} are longer than "
            f"--max-prompt-tokens {config.max_prompt_tokens}. Raise it, or use "
            "--over-long cut_left."
        )
    report = evaluate(
        pair,
        task,
        data.encoded,
        max_new_tokens=config.max_new_tokens,
        accept_top_k=config.top_k_at(config.steps),
        gamma=config.gamma,
        seed=config.seed,
        batch_size=args.eval_batch_size,
        name=pair.names["student"],
    )
    rows, texts = [row.example for row in data.encoded], [c["text"] for c in report.completions]
    corpus = task.corpus_scores(rows, [str(text) for text in texts])
    line = report.to_json()
    if corpus:
        line = json.dumps({**json.loads(line), "corpus": corpus}, ensure_ascii=False)
    if args.output:
        write_text_atomic(args.output, line + "\n")
    print(line if args.json else _as_text(report, data, corpus))
    return 0


def _of_run(folder: Path) -> dict[str, Any]:
    """The values a run was set up with, its own student in the place of the one it started from."""
    student = folder / "student"
    if not student.is_dir():
        raise UsageError(
            f"{folder} holds no finished student. Finish the run with "
            f"skd-lab train --run-dir {folder} --resume, or name a checkpoint with --student."
        )
    values = read_config(folder / "config.json")
    return {**values, "student": str(student), "resume": False, "overwrite": False}


def _as_text(report: Any, data: Any, corpus: dict[str, Any]) -> str:
    def figure(value: float, form: str) -> str:
        return "-" if value != value else format(value, form)

    lines = [
        f"{report.name}: {report.n} prompts ({data.cut} cut, {data.dropped} dropped), "
        f"{report.seconds:.0f} s"
    ]
    for name, score in report.metrics.items():
        interval = f"95% interval {score['low']:.1%} to {score['high']:.1%}"
        lines.append(f"  {name:<26} {score['value']:>8.1%}   {interval}")
    for name, score in corpus.items():
        lines.append(f"  {'corpus ' + name:<26} {score['value']:>8.1%}   {score['signature']}")
    lines += [
        f"  {'KL on references':<26} {figure(report.kl_references, '>8.4f')}   nats per token",
        f"  {'KL on own samples':<26} {figure(report.kl_samples, '>8.4f')}   nats per token",
        f"  {'replacement rate':<26} {figure(report.replacement_rate, '>8.1%')}",
        f"  {'mean length':<26} {report.mean_length:>8.1f}   tokens",
    ]
    return "\n".join(lines)
