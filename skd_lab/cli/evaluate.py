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
        "--data-seed",
        type=whole_number,
        default=0,
        metavar="N",
        help="Which prompts of the split, where a task writes its own; else their order (default "
        "0).",
    )
    parser.add_argument(
        "--eval-batch-size",
        type=whole_number,
        default=64,
        metavar="N",
        help="Rows at once; changes cost, not the report (default 64).",
    )
    parser.add_argument(
        "--draft",
        action="store_true",
        help="Instead of scores: the student as a speculative draft for its teacher, how much of "
        "what it proposes stands under the lossless rule, and tokens a block.",
    )
    parser.add_argument(
        "--baseline",
        metavar="FOLDER",
        help="With --draft: another student beside it (with --run: the one the run began with).",
    )
    parser.add_argument("--json", action="store_true", help="Print the report as JSON.")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="Write the report as JSON to a file."
    )
    add_config_flags(parser, only=_FLAGS)


def run(args: argparse.Namespace) -> int:
    config = config_from(args, _of_run(args.run_folder) if args.run_folder else None)
    if args.baseline and not args.draft:
        raise UsageError("--baseline is a second draft: it belongs to --draft. Give that too.")
    if args.data_seed < 0:
        raise UsageError(f"--data-seed must be at least 0, got {args.data_seed}.")

    from skd_lab.prepare import encode_for, pair_for
    from skd_lab.tasks import get_task

    task = get_task(config.task)
    examples = task.load(args.split, args.n, args.data_seed, config.data_path)
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
    lines, text = (_drafts if args.draft else _scores)(args, config, task, pair, data)
    if args.output:
        from skd_lab.files import write_text_atomic

        write_text_atomic(args.output, lines + "\n")
    print(lines if args.json else text)
    return 0


def _scores(args: argparse.Namespace, config: Any, task: Any, pair: Any, data: Any) -> Any:
    """The report as JSON and as text."""
    from skd_lab.evaluate import evaluate

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
    return line, _as_text(report, data, corpus)


def _drafts(args: argparse.Namespace, config: Any, task: Any, pair: Any, data: Any) -> Any:
    """Both students as drafts, as JSON and as text."""
    from skd_lab.drafts import draft_difference, draft_report
    from skd_lab.prepare import pair_for
    from skd_lab.records import to_json

    own = f"{args.run_folder.name}/student" if args.run_folder else pair.names["student"]
    pairs = [(own, pair)]
    if args.baseline or args.run_folder:
        begun = read_config(args.run_folder / "config.json") if args.run_folder else {}
        first = pair_for(config.replace(student=args.baseline or begun.get("student")))
        pairs.insert(0, (first.names["student"], first))
    reports = [
        draft_report(
            one,
            data.encoded,
            max_new_tokens=config.max_new_tokens,
            gamma=config.gamma,
            seed=config.seed,
            batch_size=args.eval_batch_size,
            name=name,
        )
        for name, one in pairs
    ]
    found: dict[str, Any] = {"drafts": [report.to_dict() for report in reports]}
    if len(reports) > 1:
        ends = draft_difference(reports[1], reports[0], config.seed)
        found["difference"] = dict(zip(("value", "low", "high"), ends, strict=True))
    head = f"drafts for {pair.names['teacher']}: {len(data.encoded)} prompts, lossless rule"
    lines = [f"{head}, blocks of {config.gamma}, temperature 1"]
    for report in reports:
        apart = "as chance has it" if report.agrees else "MORE THAN CHANCE ALLOWS"
        lines += [
            f"  {report.name}",
            f"    {'accepted':<24} {report.acceptance_rate:>8.1%}   "
            f"of {sum(report.verified)} proposals judged",
            f"    {'1 - total variation':<24} {report.expected_acceptance:>8.1%}   at the same "
            f"prefixes; {report.z:+.1f} standard errors apart, {apart}",
            f"    {'tokens per block':<24} {report.tokens_per_block:>8.2f}   the teacher alone: 1",
        ]
    if change := found.get("difference"):
        low, high = 100 * change["low"], 100 * change["high"]
        gain = f"{100 * change['value']:>+8.1f}   points, 95% interval {low:+.1f} to {high:+.1f}"
        lines.append(f"  {'second minus first':<26} {gain}")
    return to_json(found), "\n".join(lines)


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
        f"  {'NLL of own samples':<26} {figure(report.nll_samples, '>8.4f')}   nats per token, "
        "by the teacher",
        f"  {'replacement rate':<26} {figure(report.replacement_rate, '>8.1%')}",
        f"  {'mean length':<26} {report.mean_length:>8.1f}   tokens",
    ]
    return "\n".join(lines)
