"""Plain data that outlives a step: rollouts, their token traces, step records.

Nothing here runs a model. Ids stay ids: text is made by tasks (to score) and views (to show).
"""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from skd_lab.errors import DataError, SkdError

STUDENT, TEACHER, REFERENCE = "student", "teacher", "reference"


@dataclass(kw_only=True)
class TokenTrace:
    """How each token of one completion came about; column t of every field is token t.

    Ranks and log-probabilities are of the raw models at temperature 1 (never of the warped
    sampling distributions), so they do not change with the sampling policy.
    """

    source: list[str]
    """Who wrote the kept token: "student", "teacher" or "reference"."""
    proposed_id: Int[Tensor, " tokens"]
    """The student's proposal; equals kept_id where it stood. -1 where nothing was proposed."""
    kept_id: Int[Tensor, " tokens"]
    """The token in the completion, the one trained on."""
    teacher_rank: Int[Tensor, " tokens"]
    """The teacher's rank of the proposal, 1 = most likely. 0 where nothing was verified."""
    student_log_prob: Float[Tensor, " tokens"]
    """log p_student(kept | prefix), nats. nan where the student did not look."""
    teacher_log_prob: Float[Tensor, " tokens"]
    """log p_teacher(kept | prefix), nats. nan where the teacher did not look."""
    block: Int[Tensor, " tokens"]
    """Draft block the token came from, counted from 0. -1 where there are no blocks."""
    discarded: list[list[int]] = field(default_factory=list)
    """Proposals thrown away unverified behind token t (after a refusal, an eos, the limit)."""

    def __len__(self) -> int:
        return len(self.source)


@dataclass(kw_only=True)
class Rollout:
    """One prompt, one completion, and how the completion came about."""

    prompt_ids: list[int]
    completion_ids: Int[Tensor, " tokens"]
    """Ends with an eos id if one was kept; never empty."""
    trace: TokenTrace
    finished: bool
    """True if the completion ends with an eos id, False if the length limit cut it."""
    row: int = 0
    """Global row number: with the token's position it keys the uniforms."""
    teacher_hidden: Float[Tensor, "tokens hidden"] | None = None
    """Teacher's last hidden state that judged token t (kept to spare a second forward)."""

    @property
    def verified(self) -> int:
        """Proposals the teacher looked at; each became exactly one kept token."""
        return int((self.trace.teacher_rank > 0).sum())

    @property
    def replaced(self) -> int:
        """Proposals the teacher refused: tokens the teacher wrote in the student's place."""
        ranks = self.trace.teacher_rank.tolist()
        pairs = zip(self.trace.source, ranks, strict=True)
        return sum(source == TEACHER and rank > 0 for source, rank in pairs)

    @property
    def accepted(self) -> int:
        """Proposals that stood: verified - replaced."""
        return self.verified - self.replaced

    @property
    def discarded(self) -> int:
        """Proposals never verified. Proposed = accepted + replaced + discarded."""
        return sum(map(len, self.trace.discarded))


@dataclass(frozen=True)
class StepRecord:
    """What one optimizer step measured; one line of steps.jsonl."""

    step: int
    metrics: dict[str, float]

    def to_json(self) -> str:
        """One flat JSON object. A value that is not finite is written as null."""
        finite = {k: v if math.isfinite(v) else None for k, v in self.metrics.items()}
        return json.dumps({"step": self.step, **finite})

    @classmethod
    def from_json(cls, line: str) -> "StepRecord":
        """Read a line written by to_json; null becomes nan."""
        record = json.loads(line)
        step = record.pop("step")
        return cls(step, {k: math.nan if v is None else float(v) for k, v in record.items()})


@dataclass(kw_only=True)
class EvalReport:
    """What one evaluation of one model measured. A value that was not measured is nan."""

    name: str
    n: int
    """Prompts scored."""
    metrics: dict[str, dict[str, float]]
    """By metric: its mean over prompts, "value", and a 95% bootstrap interval, "low" and "high"."""
    kl_references: float
    """KL(teacher || student) on the references, nats per token."""
    kl_samples: float
    """The same on the student's own samples at temperature 1."""
    nll_samples: float = math.nan
    """-log p_teacher of those samples, nats per token: how far they are from the teacher's text."""
    replacement_rate: float
    """Teacher tokens / completion tokens of interleaved rollouts on the same prompts."""
    acceptance_rate: float
    """Accepted / verified proposals of the same rollouts."""
    mean_length: float
    """Tokens of the scored (greedy) completions."""
    seconds: float
    """Wall time."""
    completions: list[dict[str, str | float]]
    """Of each scored completion: "id" of the example, "text", "score" (the headline metric)."""

    def to_json(self) -> str:
        """One JSON object on one line; nan is written as null."""
        nothing = {k: None for k, v in vars(self).items() if isinstance(v, float) and v != v}
        return json.dumps({**vars(self), **nothing}, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> "EvalReport":
        """Read a line written by to_json; null becomes nan, and keys it does not know are left."""
        record, names = json.loads(line), {column.name for column in fields(cls)}
        known: dict[str, Any] = {k: v for k, v in record.items() if k in names}
        known = {k: math.nan if v is None else v for k, v in known.items()}
        return cls(**known)


def to_json(value: Any, indent: int | None = None) -> str:
    """Strict JSON: null stands where JSON has no number (nan, infinities)."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, indent=indent)
    # half of a surrogate pair cannot be written as UTF-8; JSON has an escape for it
    return text.encode("utf-8", "backslashreplace").decode()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


TRACE_SCHEMA = "skd-trace/1"


@dataclass
class Trace:
    """One completion, token by token, with what both models thought: enough for every view.

    The names in `header` and in each dict of `tokens` are those of the file (schema skd-trace/1).
    """

    header: dict[str, Any]
    tokens: list[dict[str, Any]]

    @property
    def verified(self) -> int:
        """Proposals the teacher ranked; each stands behind one kept token."""
        return sum(token["teacher_rank"] > 0 for token in self.tokens)

    @property
    def replaced(self) -> int:
        """Proposals the teacher refused."""
        return sum(is_replaced(token) for token in self.tokens)

    @property
    def accepted(self) -> int:
        """Proposals that stood: verified - replaced."""
        return self.verified - self.replaced

    @property
    def discarded(self) -> int:
        """Proposals never verified. Proposed = accepted + replaced + discarded."""
        return sum(len(token.get("discarded", ())) for token in self.tokens)


def is_replaced(token: dict[str, Any]) -> bool:
    """Whether the teacher refused the proposal of a token record and wrote the token itself."""
    return token["source"] == TEACHER and token["teacher_rank"] > 0


def dumps_traces(traces: Iterable[Trace]) -> str:
    """NDJSON text: of each trace a header line, then a line a token. Not finite becomes null."""
    lines = ([{"schema": TRACE_SCHEMA, **trace.header}, *trace.tokens] for trace in traces)
    return "".join(to_json(line) + "\n" for trace in lines for line in trace)


def loads_traces(text: str, name: str = "traces", notes: list[str] | None = None) -> list[Trace]:
    """Traces of an NDJSON text.

    Args:
        text: any number of traces.
        name: of the file, for messages.
        notes: if given, a cut last line (it has no line end) is left out and said here.

    Raises:
        DataError: a damaged line, a token before any header, an unknown schema; names the line.
    """
    traces: list[Trace] = []
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = _trace_line(line)
        except (ValueError, RecursionError) as error:
            if notes is not None and number == len(lines):
                notes.append(f"{name}: line {number} was cut off and is left out.")
                break
            raise DataError(
                f"{name}, line {number}: not a trace record: {error}. "
                "Repair or remove that line; the lines before it are good."
            ) from error
        if "schema" in record:
            traces.append(Trace(header=record, tokens=[]))
        elif not traces:
            raise DataError(
                f'{name}, line {number}: a token comes before any header ("schema": ...).'
            )
        else:
            traces[-1].tokens.append(record)
    return traces


def write_traces(path: str | Path, traces: Iterable[Trace], append: bool = False) -> None:
    """Write traces to an NDJSON file, behind what is there if asked to; see dumps_traces.

    Raises:
        SkdError: if the disk is full or read-only.
    """
    path, text = Path(path), dumps_traces(traces)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not append:
            whole = path.with_name(f".{path.name}.part")
            whole.write_text(text, encoding="utf-8", newline="\n")
            whole.replace(path)
            return
        with path.open("a+b") as file:
            file.seek(0)
            # a line cut off by an earlier kill would swallow the first new one
            file.truncate(file.read().rfind(b"\n") + 1)
            file.write(text.encode())
    except OSError as error:
        reason = error.strerror or error
        raise SkdError(f"Cannot write {path}: {reason}. Free some space first.") from error


def read_traces(path: str | Path) -> list[Trace]:
    """Traces of a file of write_traces or an exported page; a DataError names a damaged line."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        if text[:15].lower() == "<!doctype html>":
            found = re.findall(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)
            text = "".join(json.loads(data).get("value", "") for data in found)
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"Cannot read {path}: {error}. Check the path.") from error
    return loads_traces(text, name=str(path))


_TOKEN_FIELDS = ("i", "source", "kept_id", "kept", "teacher_rank")


def _trace_line(line: str) -> dict[str, Any]:
    record = json.loads(line)
    if not isinstance(record, dict):
        raise ValueError(f"expected an object, got {type(record).__name__}")
    if "schema" in record:
        if record["schema"] != TRACE_SCHEMA:
            raise ValueError(f"its schema is {record['schema']!r}; this reads {TRACE_SCHEMA!r}")
        return record
    if missing := [name for name in _TOKEN_FIELDS if name not in record]:
        raise ValueError(f"the token has no {', '.join(missing)}")
    if type(record["teacher_rank"]) is not int:
        raise ValueError(f"teacher_rank must be a whole number, got {record['teacher_rank']!r}")
    return record
