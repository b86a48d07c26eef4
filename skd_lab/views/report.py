"""A run as one page: scores, watched prompts over time, curves, settings, and where it was made.

What is not there is said in words: a run that goes on, was stopped or is damaged has a page, too.
"""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from skd_lab.runs import Run
from skd_lab.views.curves import LABELS, line_names, open_runs, points
from skd_lab.views.history import by_prompt, history_markup
from skd_lab.views.page import Fragment, escape
from skd_lab.views.panels import PHASES, evaluation_panels, phase_shares, training_panels
from skd_lab.views.scores import (
    ends,
    interval,
    is_number,
    metric_name,
    number,
    percent,
    score_rows,
    score_table,
)
from skd_lab.views.settings import (
    differences_markup,
    environment_markup,
    run_facts,
    settings_markup,
)
from skd_lab.views.strip import boot_script


def render_report(
    runs: Run | str | Path | Sequence[Run | str | Path],
    *,
    title: str | None = None,
    reading: str | None = None,
) -> Fragment:
    """The report of a run, or of several that belong together.

    Args:
        runs: run folders. The strips, the table and the settings are those of the first; runs
            that its table names and that stand beside it (as the demo's rivals do) come along.
            A folder is read as far as it is whole, and the page says what is damaged; a Run as
            it was opened.
        title: plain text; made from the run if None.
        reading: the paragraph under the title, plain text; made from the records if None.

    Returns:
        An object with `save(path)`: a page that needs nothing outside itself.
    """
    several = [runs] if isinstance(runs, Run | str | Path) else list(runs)
    opened = open_runs([r if isinstance(r, Run) else Run(r, strict=False) for r in several])
    first = opened[0]
    if len(opened) == 1:
        opened = [*_rivals(first), first]
    rows = score_rows(opened, first)
    title = title or f"{first.name}: what the student learned"
    reading = _reading(first, rows) if reading is None else reading
    sections = [
        ("scores", "Held-out scores", _scores(rows, opened)),
        ("prompts", "Watched prompts", _history(first)),
        ("training", "Training", _training(opened)),
        ("settings", "Settings", _settings(opened)),
        ("environment", "Environment", environment_markup(opened)),
    ]
    # the parts above have read every file, so every note is there
    notes = [note for run in opened for note in run.notes]
    links = "".join(
        f'<li><a href="#{name}">{escape(words)}</a></li>' for name, words, _ in sections
    )
    parts = [
        f'<header><p class="kind">{escape(run_facts(first))}</p><h1>{escape(title)}</h1>'
        f"<p>{escape(reading)}</p></header>",
        _tiles(first, rows),
        "".join(f'<p class="note" role="note">{escape(note)}</p>' for note in notes),
        f'<nav aria-label="On this page"><ol>{links}</ol></nav>',
        *(
            f'<section id="{name}"><h2>{escape(words)}</h2>{markup}</section>'
            for name, words, markup in sections
        ),
    ]
    return Fragment(
        title,
        f'<div class="skd-report">{"".join(parts)}</div>',
        script=f"{boot_script()}\n{source('panels.js')}",
        text=f"{title}\n{reading}",
        style=source("report.css"),
    )


@cache
def source(name: str) -> str:
    """Text of a file that lies beside this one."""
    return files("skd_lab.views").joinpath(name).read_text(encoding="utf-8")


def progress(run: Run) -> tuple[int, int | None]:
    """The last update that is recorded, and how many there are to be: None if not known."""
    done = run.steps[-1].step if run.steps else 0
    planned = run.config.get("steps")
    return done, planned if isinstance(planned, int) else None


def _rivals(run: Run) -> list[Run]:
    """Runs beside this one that its table names: runs/demo-on_policy_kd beside runs/demo."""
    rows = run.table.get("rows", [])
    names = [str(row.get("name", "")) for row in rows if isinstance(row, dict)]
    folder = run.path.resolve()
    beside = [folder.parent / f"{folder.name}-{Path(name).name}" for name in names if name]
    return [Run(path, strict=run.strict) for path in beside if (path / "steps.jsonl").exists()]


def _reading(run: Run, rows: Sequence[dict[str, Any]]) -> str:
    """What the records say, in a few sentences."""
    says = []
    done, planned = progress(run)
    if planned is not None and done < planned:
        says.append(
            f"{done} of {planned} updates are recorded: the run goes on, or it was stopped and "
            "can be resumed."
        )
    by_name = {str(row.get("name")): row for row in rows}
    method = str(run.config.get("method", "this method"))
    own = by_name.get(method) or (rows[-1] if rows else {})
    start = by_name.get("start") or by_name.get("step 0") or {}
    if is_number(own.get("value")):
        seen = own["step"] if is_number(own.get("step")) else done
        said = (
            f"After {seen} updates the student trained with {method}"
            if seen
            else "The student as it was"
        )
        said += f" has {metric_name(own)} {percent(own['value'])}"
        said += f" on {own.get('n')} held-out prompts"
        said += f" (95% interval {interval(own)})" if interval(own) else ""
        if start is not own and is_number(start.get("value")):
            said += f"; it began at {percent(start['value'])}"
        teacher = by_name.get("teacher", {}).get("value")
        said += f", and the teacher has {percent(teacher)}." if is_number(teacher) else "."
        says.append(said)
    elif run.steps:
        high, low = ends(run, "loss")
        says.append(
            f"{len(run.steps)} updates with {method}: the loss "
            f"went from {number(high, '.3f')} to {number(low, '.3f')} nats a token."
        )
    elif not says:
        says.append("No update is recorded yet.")
    before, after = own.get("replacement_rate_at_start"), own.get("replacement_rate")
    if not is_number(before):
        before, after = ends(run, "replacement_rate")
    if is_number(before) and is_number(after):
        says.append(
            f"The teacher replaced {percent(before)} of its tokens at the start and "
            f"{percent(after)} at the end."
        )
    return " ".join(says)


def _tiles(run: Run, rows: Sequence[dict[str, Any]]) -> str:
    """The run in a handful of numbers; what was not measured has no tile."""
    done, planned = progress(run)
    tiles = [("updates", f"{done:,} of {planned:,}" if planned else f"{done:,}")]
    for metric, words, form in (
        ("loss", "loss, nats a token", ".3f"),
        ("replacement_rate", "replaced in training", ".1%"),
    ):
        before, after = ends(run, metric)
        if is_number(before):
            tiles.append((words, f"{number(before, form)} \u2192 {number(after, form)}"))
    scored = [row for row in rows if is_number(row.get("value")) and row.get("name") != "teacher"]
    if scored:
        words = f"{metric_name(scored[-1])}, held out"
        values = [percent(row["value"]) for row in (scored[0], scored[-1])]
        tiles.append((words, " \u2192 ".join(values) if len(scored) > 1 else values[0]))
    tokens = sum(points(run, "completion_tokens")[1])
    if tokens:
        tiles.append(("tokens trained on", f"{tokens:,.0f}"))
    seconds = sum(sum(points(run, f"seconds_{phase}")[1]) for phase in PHASES)
    if seconds:
        tiles.append(("time in updates", _duration(seconds)))
    cells = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in tiles)
    return f'<dl class="tiles">{cells}</dl>'


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.0f} s"


def _scores(rows: Sequence[dict[str, Any]], runs: Sequence[Run]) -> str:
    if not rows:
        return (
            "<p>No evaluation is recorded. <code>skd-lab train --eval-every 50</code> evaluates on "
            "the way, <code>skd-lab evaluate --run</code> afterwards.</p>"
        )
    pictures = evaluation_panels(runs)
    setting = escape(runs[-1].table.get("setting", "") or runs[0].table.get("setting", ""))
    first = next((run for run in runs if run.table), runs[0])
    return (
        f'{score_table(rows, first)}<p class="small">KL is KL(teacher || student); own samples are '
        "drawn at temperature 1 with the same random numbers for every student. Replaced: share of "
        f"tokens of interleaved completions on the same prompts. {setting}</p>"
        + (f'<div class="panels">{"".join(pictures)}</div>' if pictures else "")
    )


def _history(run: Run) -> str:
    if not by_prompt(run.traces):
        return (
            "<p>No completion is recorded. <code>skd-lab train --trace-prompts 2</code> records "
            "those of held-out prompts while it trains.</p>"
        )
    return (
        "<p>Held-out prompts, completed again and again while the student learned. The prompt and "
        "the random numbers are the same every time: what changes is the student. Blue tokens are "
        "its own; where the teacher refused one, it is <del>struck through</del> and the "
        f"teacher\u2019s token stands beside it.</p>{history_markup(run.traces)}"
    )


def _training(runs: Sequence[Run]) -> str:
    if not any(run.steps for run in runs):
        return "<p>No update is recorded yet: steps.jsonl is not there or holds nothing.</p>"
    says = ["Thin: single steps; strong: a running mean."]
    if len(runs) > 1:
        says.append(
            "Each method writes its own training text, so losses of two methods are not on one "
            "scale."
        )
    shares = phase_shares(runs[0]) if len(runs) == 1 else {}
    if shares:
        parts = [f"{name} {share:.0%}" for name, share in shares.items() if share >= 0.005]
        says.append(f"Of the seconds of all updates: {', '.join(parts)}.")
    missing = [
        LABELS[metric].split(" (")[0]
        for metric in ("replacement_rate", "teacher_nll", "student_entropy")
        if not any(points(run, metric)[0] for run in runs)
    ]
    if missing:
        says.append(f"Not measured in this run: {', '.join(missing)}.")
    return (
        f'<div class="panels">{"".join(training_panels(runs))}</div>'
        f'<p class="small">{escape(" ".join(says))}</p>{_numbers(runs)}'
    )


def _numbers(runs: Sequence[Run]) -> str:
    """The curves as a table of a dozen steps, for readers of numbers."""
    tables = []
    for run, name in zip(runs, line_names(runs), strict=True):
        steps = run.steps
        if not steps:
            continue
        places = sorted({round(n * (len(steps) - 1) / 11) for n in range(12)})
        metrics = [key for key in LABELS if points(run, key)[0]]
        head = "".join(f'<th scope="col">{escape(LABELS[key])}</th>' for key in metrics)
        body = "".join(
            f'<tr><th scope="row">{steps[n].step}</th>'
            + "".join(f"<td>{number(steps[n].metrics.get(key), '.4g')}</td>" for key in metrics)
            + "</tr>"
            for n in places
        )
        tables.append(
            f'<div class="wide" tabindex="0" role="region" aria-label="Numbers of {escape(name)}">'
            f'<table class="numbers"><caption>{escape(name)}</caption><thead><tr>'
            f'<th scope="col">step</th>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        )
    return f"<details><summary>The same in numbers</summary>{''.join(tables)}</details>"


def _settings(runs: Sequence[Run]) -> str:
    if len(runs) == 1:
        return settings_markup(runs[0])
    folds = "".join(
        f"<details><summary>Settings of {escape(run.name)}</summary>"
        f"{settings_markup(run)}</details>"
        for run in runs
    )
    return differences_markup(runs, [run.name for run in runs]) + folds
