"""Trace records without a model, for tests of what reads them: exact numbers are made up."""

import random
from typing import Any

from skd_lab.records import Trace

WORDS = (
    "Anna will bring the cake on Friday and Ben has to book a table for six people at the "
    "station . Later they call Mia , who pays 40 euros .\n The plan is fixed ."
).split(" ")

HOSTILE = [
    "<img src=x onerror=window.PWNED=1>",
    "</script><script>window.PWNED=2</script>",
    "<!--",
    "]]>",
    "${window.PWNED=3}",
    "`${(window.PWNED=4)}`",
    "{{window.PWNED=5}}",
    "{{#each value}}",
    "\\u{zz}",
    "\u202eevil",
    "\u2066\u2069",
    "\u2028",
    "\u2029",
    "\u0000\u0007\u001b[31m",
    "\u200b\u200f\ufeff",
    "\U0001f469\u200d\U0001f4bb",
    "\u0645\u0631\u062d\u0628\u0627",
    "\u05e9\u05dc\u05d5\u05dd",
    "\ufffd",
    "&lt;b&gt;&amp;",
    '" onmouseover="window.PWNED=6" x=\'',
    "javascript:window.PWNED=7",
    "</style><style>*{display:none}</style>",
    "[-old-]{+new+}",
    "$x_1^{2$",
    "\r\n\t",
    "=1+1",
    "\ud83d",
]


def make_trace(
    texts: list[str] | None = None, *, replaced_every: int = 6, accept_top_k: int = 3, step: int = 0
) -> Trace:
    """A trace over the texts; every so-manieth proposal is refused and discards one draft."""
    texts = [f" {word}" for word in WORDS] if texts is None else texts
    rng = random.Random(len(texts) + step)
    tokens: list[dict[str, Any]] = []
    block = 0
    for i, text in enumerate(texts):
        refused = i % replaced_every == replaced_every - 1
        other = texts[(i + 3) % len(texts)]
        proposed, proposed_id = (other, 1000 + i) if refused else (text, i)
        rank = accept_top_k + 1 + rng.randrange(20) if refused else 1 + rng.randrange(accept_top_k)
        kept_p, proposed_p = 0.4 + 0.4 * rng.random(), 0.1 + 0.2 * rng.random()
        top = [[i, text, 0.5], [1000 + i, other, 0.25]]
        top += [[2000 + j, texts[j % len(texts)], 0.1 / (1 + j)] for j in range(18)]
        tokens.append(
            {
                "i": i,
                "source": "teacher" if refused else "student",
                "kept_id": i,
                "kept": text,
                "kept_bytes": text.encode("utf-8", "replace").hex(),
                "proposed_id": proposed_id,
                "proposed": proposed,
                "proposed_bytes": proposed.encode("utf-8", "replace").hex(),
                "block": block,
                "teacher_rank": rank,
                "p_student": kept_p if not refused else 0.05,
                "p_teacher": kept_p,
                "proposed_p_student": proposed_p if refused else kept_p,
                "proposed_p_teacher": 0.004 if refused else kept_p,
                "u_student": rng.random(),
                "u_teacher": rng.random(),
                "teacher_draw": {"id": i, "text": text, "p": kept_p},
                "student_top": top[1::-1] + top[2:] if refused else top,
                "teacher_top": top,
                "entropy_student": 1.2,
                "entropy_teacher": 0.8,
                "kl": rng.random(),
                "discarded": [[7, other]] if refused else [],
            }
        )
        block += refused
    header = {
        "schema": "skd-trace/1",
        "run": "synthetic",
        "step": step,
        "row": 0,
        "prompt": "Summarise: Anna and Ben plan a party.",
        "prompt_ids": [1, 2, 3],
        "completion": "".join(texts),
        "accept_top_k": accept_top_k,
        "gamma": 5,
        "policies": {"student": {}, "teacher": {}, "replacement": "teacher_sample"},
        "student": "synthetic-student",
        "teacher": "synthetic-teacher",
        "tokenizer": "none",
        "vocab_size": 4000,
        "seed": 0,
        "method": "skd",
        "finished": True,
    }
    return Trace(header=header, tokens=tokens)


def hostile_trace() -> Trace:
    """Every hostile text once as a kept token and once as a refused proposal."""
    return make_trace(HOSTILE * 2, replaced_every=2)
