"""Traces as files that other programs read: NDJSON, JSON, CSV, text. No browser is needed.

The strip's own menu writes the same formats from a page. Pictures are made by `plot_strip`.
"""

import csv
import io
from collections.abc import Sequence
from typing import Any

from skd_lab.records import Trace, to_json
from skd_lab.views.terminal import counts_line
from skd_lab.views.text import token_text, wdiff

CSV_FIELDS = [
    *("trace", "i", "source", "kept_id", "kept", "proposed_id", "proposed", "teacher_rank"),
    *("block", "p_student", "p_teacher", "proposed_p_student", "proposed_p_teacher", "kl"),
    *("entropy_student", "entropy_teacher"),
]
"""Columns of the CSV. Probabilities are of the raw models, KL and entropies in nats; `trace`
counts from 0. Texts have their hidden characters written out; ids are exact."""


def traces_to_json(traces: Sequence[Trace]) -> str:
    """A JSON list of {"header", "tokens"}; the names are those of the schema skd-trace/1."""
    return to_json([vars(trace) for trace in traces], indent=1) + "\n"


def traces_to_csv(traces: Sequence[Trace]) -> str:
    """A table with a row a token (columns: CSV_FIELDS), quoted as RFC 4180 says.

    A text that a spreadsheet would run as a formula (it starts with = + - @, a tab or a carriage
    return) gets a quote mark before it.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(CSV_FIELDS)
    for n, trace in enumerate(traces):
        for token in trace.tokens:
            texts = {which: token_text(token, which) for which in ("kept", "proposed")}
            row = {**token, "trace": n, **texts}
            writer.writerow([_cell(row.get(name)) for name in CSV_FIELDS])
    return file.getvalue()


def traces_to_text(traces: Sequence[Trace]) -> str:
    """Text with [-refused-]{+written+} marks, and under each completion its counts."""
    return "\n\n".join(f"{wdiff(trace)}\n{counts_line(trace)}" for trace in traces) + "\n"


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value
