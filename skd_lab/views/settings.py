"""What decided a run: its configuration, what differs from the defaults first, and where it ran."""

import shlex
from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any

from skd_lab.config import RunConfig
from skd_lab.presets import PRESETS
from skd_lab.records import to_json
from skd_lab.runs import Run
from skd_lab.views.page import escape

_WHERE = ("run_dir", "resume", "overwrite")
"""Fields that say where and how, not what is computed."""


def settings_markup(run: Run) -> str:
    """The configuration as tables: what was set first, everything else folded away."""
    config = run.config
    if not config:
        return (
            f"<p>No configuration is recorded: {escape(run.name)} holds no config.json that can be "
            "read.</p>"
        )
    # the defaults as they are now; a field of another version is shown as set
    defaults = {
        field.name: None if field.default is MISSING else field.default
        for field in fields(RunConfig)
    }
    preset = PRESETS.get(str(config.get("pair")), {})
    changed, same = [], []
    for name, value in config.items():
        if name in defaults and (value == defaults[name] or name in _WHERE):
            same.append((name, value))
        elif name not in defaults:
            changed.append((name, value, "no field of this version"))
        elif name in preset and preset[name] == value:
            changed.append((name, value, f"{_value(defaults[name])}, preset of {config['pair']}"))
        else:
            changed.append((name, value, _value(defaults[name])))
    rows = "".join(
        f'<tr><th scope="row"><code>{escape(name)}</code></th><td>{escape(_value(value))}</td>'
        f"<td>{escape(default)}</td></tr>"
        for name, value, default in changed
    )
    table = (
        '<div class="wide" tabindex="0" role="region" aria-label="Settings that differ from the '
        'defaults"><table class="plain config"><thead><tr><th scope="col">setting</th>'
        f'<th scope="col">here</th><th scope="col">default</th></tr></thead><tbody>{rows}</tbody>'
        "</table></div>"
        if rows
        else "<p>Every setting is the default.</p>"
    )
    rest = "".join(
        f"<div><dt><code>{escape(name)}</code></dt><dd>{escape(_value(value))}</dd></div>"
        for name, value in same
    )
    again = (
        f"skd-lab train --config {shlex.quote(str(run.path / 'config.json'))} --run-dir runs/again"
    )
    lead = "The other" if changed else "The"
    return (
        f"{table}<details><summary>{lead} {len(same)} settings, as by default</summary>"
        f'<dl class="settings">{rest}</dl></details>'
        '<details class="raw"><summary>config.json</summary>'
        f"<pre>{escape(to_json(config, 2))}</pre></details>"
        f'<p class="small">The same run again: <code>{escape(again)}</code></p>'
    )


def differences_markup(runs: Sequence[Run], names: Sequence[str]) -> str:
    """The settings in which several runs differ, a column a run; "" where there is none."""
    keys = dict.fromkeys(key for run in runs for key in run.config if key not in _WHERE)
    rows = ""
    for key in keys:
        values = [_value(run.config.get(key)) for run in runs]
        if len(set(values)) > 1:
            cells = "".join(f"<td>{escape(value)}</td>" for value in values)
            rows += f'<tr><th scope="row"><code>{escape(key)}</code></th>{cells}</tr>'
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="Settings in which the runs '
        f'differ"><table class="plain"><thead><tr><th scope="col">setting</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


_KEYS = {
    "started": "started",
    "from_step": "from update",
    "device": "device",
    "threads": "threads",
    "python": "python",
    "torch": "torch",
    "transformers": "transformers",
    "accelerate": "accelerate",
    "skd_lab": "skd_lab",
    "commit": "commit",
    "command": "command",
}


def environment_markup(runs: Sequence[Run]) -> str:
    """The sessions in which runs were made, a column each; bold: changed within a run."""
    columns = [(run, n, session) for run in runs for n, session in enumerate(_sessions(run), 1)]
    if not columns:
        return (
            "<p>Not recorded: the run folder holds no environment.json that can be read, so "
            "versions, device and command are not known.</p>"
        )
    seen = dict.fromkeys(key for *_, session in columns for key in session)
    keys = [key for key in _KEYS if key in seen] + [key for key in seen if key not in _KEYS]
    rows = []
    for key in keys:
        cells = ""
        for n, (_, number, session) in enumerate(columns):
            before = columns[n - 1][2].get(key) if number > 1 else session.get(key)
            new = session.get(key) != before and key not in ("started", "from_step")
            text = _session_value(key, session.get(key))
            cells += f"<td><b>{text}</b></td>" if new else f"<td>{text}</td>"
        rows.append(f'<tr><th scope="row">{escape(_KEYS.get(key, key))}</th>{cells}</tr>')
    names = [
        " ".join(
            ([run.name] if len(runs) > 1 else [])
            + ([f"session {n}"] if len(_sessions(run)) > 1 else [])
        )
        for run, n, _ in columns
    ]
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    head = f"<thead><tr><td></td>{heads}</tr></thead>" if any(names) else ""
    again = any(n > 1 for _, n, _ in columns)
    said = (
        '<p class="small">A session is a start or a --resume; bold: changed since the session '
        "before.</p>"
        if again
        else ""
    )
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="Environment">'
        f'<table class="plain">{head}<tbody>{"".join(rows)}</tbody></table></div>{said}'
    )


def _sessions(run: Run) -> list[dict[str, Any]]:
    found = run.environment.get("sessions")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _session_value(key: str, value: Any) -> str:
    if key == "command":
        words = shlex.join(map(str, value)) if isinstance(value, list) else _value(value)
        return f"<code>{escape(words)}</code>"
    if key == "started":
        return escape(_value(value).replace("T", " ", 1))
    return escape(_value(value)) if value is not None else "\u2013"


def run_facts(run: Run) -> str:
    """A line of facts: method, task and models."""
    config = run.config
    models = config.get("pair") or " and ".join(
        str(config[role]) for role in ("student", "teacher") if config.get(role)
    )
    facts = [config.get("method"), config.get("task"), models]
    return " \u00b7 ".join(str(fact) for fact in facts if fact)


def _value(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else to_json(value)
