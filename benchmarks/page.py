"""Figures and tables of docs/performance.md from results/: `python -m benchmarks.page`.

What stands between the two marks in the page is written anew; the rest is left alone.
"""

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from benchmarks.machine import RESULTS
from benchmarks.meter import REGIONS

ROOT = Path(__file__).parent.parent
PAGE, IMAGES = ROOT / "docs/performance.md", ROOT / "docs/img"
BEGIN, END = "<!-- begin: python -m benchmarks.page -->", "<!-- end -->"

WORK = (
    "student draft",
    "teacher verify",
    "teacher score",
    "student forward",
    "projection and loss",
    "backward",
    "optimizer",
)
"""Regions that no exact trainer can do without; the others are what a trainer adds."""

# Okabe and Ito's colours, told apart with any colour vision
COLOURS = dict(
    zip(
        REGIONS,
        (
            "#56B4E9",
            "#0072B2",
            "#999999",
            "#CC79A7",
            "#009E73",
            "#F0E442",
            "#E69F00",
            "#D55E00",
            "#DDDDDD",
        ),
        strict=True,
    )
)


def load(name: str) -> dict[str, Any] | None:
    """A result, or None where it was not measured."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def machine_line(result: dict[str, Any]) -> str:
    """On what, with what, when."""
    on = result["machine"]
    threads = f"{on['threads']} thread" + "s" * (on["threads"] > 1)
    trl = f", trl {on['trl']}" if on.get("trl") else ""
    return (
        f"{on['processor']}, {on['cores']} cores, {threads}, load average "
        f"{on['load_average'][0]}; torch {on['torch']}, transformers {on['transformers']}{trl}; "
        f"{on['date']}."
    )


def step_table(result: dict[str, Any]) -> str:
    """A row a trainer; ratios of CPU seconds to the first row and to TRL's quickest."""
    rows = result["rows"]
    first = next(iter(rows.values()))["cpu_seconds"]["median"]
    beside = rows.get("TRL Distillation", {}).get("cpu_seconds", {}).get("median")
    lines = [
        "| | CPU s a step (min to max) | ratio | to TRL Distillation | kept tokens/s | peak MB "
        "| in models, loss, optimizer | student, teacher forwards a token |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        cpu, split = row["cpu_seconds"], row["cpu_split"]
        share = sum(split[region] for region in WORK) / sum(split.values())
        ratio = f"{cpu['median'] / beside:.2f}" if beside else ""
        peak = row["peak_bytes"] / 2**20
        lines.append(
            f"| {name} | {cpu['median']:.2f} ({cpu['min']:.2f} to {cpu['max']:.2f}) "
            f"| {cpu['median'] / first:.2f} | {ratio} | {row['kept_tokens_per_second']:.0f} "
            f"| {f'{peak:.0f}' if peak == peak else ''} | {share:.0%} "
            f"| {row['student_forwards_per_token']:.2f}, {row['teacher_forwards_per_token']:.2f} |"
        )
    return "\n".join(lines)


def rollout_table(result: dict[str, Any]) -> str:
    """A row a sampler, for every kept token."""
    rows = result["rows"]
    first = next(iter(rows.values()))["cpu_seconds_per_kept_token"]["median"]
    lines = [
        "| | CPU ms a kept token (min to max) | ratio | acceptance | student, teacher forwards "
        "a token of a row | proposals a kept token | in forwards |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        cpu, split = row["cpu_seconds_per_kept_token"], row["cpu_split_per_kept_token"]
        share = 1 - split["bookkeeping"] / sum(split.values())
        rate, proposals = row["acceptance_rate"], row["proposals_per_kept_token"]
        lines.append(
            f"| {name} | {1e3 * cpu['median']:.2f} ({1e3 * cpu['min']:.2f} to "
            f"{1e3 * cpu['max']:.2f}) | {cpu['median'] / first:.2f} | "
            f"{f'{rate:.2f}' if rate else ''} | {row['student_forwards_per_token']:.2f}, "
            f"{row['teacher_forwards_per_token']:.2f} | "
            f"{f'{proposals:.2f}' if proposals else ''} | {share:.0%} |"
        )
    return "\n".join(lines)


def loss_table(result: dict[str, Any]) -> str:
    """Chunked and dense side by side."""
    rows = {(row["way"], row["tokens"]): row for row in result["rows"]}
    lines = [
        "| tokens | chunked: CPU s | peak MB | dense: CPU s | peak MB |",
        "|---|---|---|---|---|",
    ]
    for tokens in sorted({row["tokens"] for row in result["rows"]}):
        cells = []
        for way in ("chunked", "dense"):
            row = rows.get((way, tokens))
            cells += (
                [f"{row['cpu_seconds']['median']:.2f}", f"{row['peak_bytes'] / 2**20:,.0f}"]
                if row
                else ["not run", ""]
            )
        lines.append(f"| {tokens:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def growth_table(result: dict[str, Any]) -> str:
    """Milliseconds a kept token by block size and acceptance."""
    rows = [row for row in result["rows"] if row["series"] == "gamma"]
    gammas = list(dict.fromkeys(row["gamma"] for row in rows))
    lines = [
        "| proposals that stand | " + " | ".join(f"gamma {gamma}" for gamma in gammas) + " |",
        "|---" * (len(gammas) + 1) + "|",
    ]
    for accept in dict.fromkeys(row["accept"] for row in rows):
        cells = [
            f"{1e3 * row['cpu_seconds_per_kept_token']['median']:.2f}"
            for row in rows
            if row["accept"] == accept
        ]
        lines.append(f"| {accept:.0%} | {' | '.join(cells)} |")
    return "\n".join(lines)


def split_figure(result: dict[str, Any], path: Path) -> None:
    """Where a step's CPU time goes, a bar a trainer."""
    rows = result["rows"]
    figure, axes = plt.subplots(figsize=(9, 0.42 * len(rows) + 1.3), layout="constrained")
    left = [0.0] * len(rows)
    for region in REGIONS:
        width = [row["cpu_split"][region] for row in rows.values()]
        axes.barh(list(rows), width, left=left, label=region, color=COLOURS[region])
        left = [a + b for a, b in zip(left, width, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("CPU seconds a step")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(ncols=5, loc="lower left", bbox_to_anchor=(0, 1), frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def growth_figure(result: dict[str, Any], path: Path) -> None:
    """Cost of a kept token over the batch and over the length."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    for axes, series, along, label in (
        (panels[0], "batch", "batch", "rows in the batch"),
        (panels[1], "length", "new", "tokens of a completion (4 rows)"),
    ):
        rows = [row for row in result["rows"] if row["series"] == series]
        places = [row[along] for row in rows]
        cost = [1e3 * row["cpu_seconds_per_kept_token"]["median"] for row in rows]
        axes.plot(places, cost, "o-", color="#0072B2")
        axes.set_xscale("log", base=2)
        axes.set_xticks(places, [str(place) for place in places])
        axes.set_ylim(0, 1.1 * max(cost))
        axes.set_xlabel(label)
        axes.set_ylabel("CPU ms a kept token")
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def measured() -> str:
    """The generated part of the page."""
    parts = []
    for size in ("S", "M"):
        for name, title in (
            (f"step_{size}", f"An optimizer step, size {size}"),
            (f"step_{size}_compiled", f"Size {size}, our decoding by torch.compile"),
            (f"rollout_{size}", f"Rollouts alone, size {size}"),
        ):
            result = load(name)
            if result is None:
                continue
            table = rollout_table if result["benchmark"] == "rollout" else step_table
            parts += [f"### {title}", table(result)]
            if name == f"step_{size}":
                split_figure(result, IMAGES / f"step_{size}.png")
                parts.append(f"![Split of a step at size {size}](img/step_{size}.png)")
            parts.append(machine_line(result))
    if loss := load("loss"):
        title = f"### The loss at {loss['vocabulary']:,} ids"
        parts += [title, loss_table(loss), machine_line(loss)]
    if growth := load("growth"):
        growth_figure(growth, IMAGES / "growth.png")
        parts += [
            "### Growth",
            "CPU milliseconds a kept token by block size, size S, 8 rows:",
            growth_table(growth),
            "![Cost of a kept token over batch and length](img/growth.png)",
            machine_line(growth),
        ]
    return "\n\n".join(parts)


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{measured()}\n\n{END}{after}", encoding="utf-8")
    print(f"Written to {PAGE.relative_to(ROOT)}.")


if __name__ == "__main__":
    main()
