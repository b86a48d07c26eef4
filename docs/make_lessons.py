"""The recordings of the app's Learn tab, from the bundled pair and a student trained for it.

python docs/make_lessons.py     a minute on a CPU; writes skd_lab/bundled/lessons.ndjson

One prompt and one set of random numbers, five texts: student and teacher together before and after
training, the student alone, the teacher alone, and speculative decoding without loss. The prompt is
the first held-out one on which the student is refused a few times at first and less often later.
"""

import copy
import tempfile
from pathlib import Path
from typing import Any

import torch

import skd_lab as skd
from skd_lab.presets import with_preset
from skd_lab.records import Rollout, Trace, write_traces
from skd_lab.rollout import teacher_rollout
from skd_lab.speculative import speculative_rollout

LESSONS = Path(__file__).parent.parent / "skd_lab" / "bundled" / "lessons.ndjson"
PAIR, TASK, K, GAMMA, LONGEST, UPDATES = "tiny-qwen3", "summaries", 3, 5, 64, 150
REFUSED = 3
"""Least number of refusals before training."""
TOP = 5
"""Most likely ids that are kept of each model."""


def main() -> None:
    torch.set_num_threads(1)
    pair = skd.load_pair(PAIR)
    examples = skd.get_task(TASK).load("test", n=128)
    prompts = skd.encode_examples(pair.tokenizer, examples, max_prompt_tokens=512).encoded
    policy = skd.SamplingPolicy()
    uniforms = skd.draw_uniforms(0, len(prompts), LONGEST)
    both: dict[str, Any] = {"student_policy": policy, "teacher_policy": policy}
    limits: dict[str, Any] = {
        "max_new_tokens": LONGEST,
        "eos_token_ids": pair.eos_token_ids,
        "vocab_size": pair.vocab_size,
    }
    ids = [row.prompt_ids for row in prompts]

    def together(student: Any, k: int = K) -> list[Rollout]:
        return skd.interleaved_rollout(
            student,
            pair.teacher,
            ids,
            accept_top_k=k,
            gamma=GAMMA,
            uniforms=uniforms,
            **both,
            **limits,
        )

    first = copy.deepcopy(pair.student)
    early, alone = together(first), together(first, pair.vocab_size)
    lossless = speculative_rollout(
        first, pair.teacher, ids, gamma=GAMMA, uniforms=uniforms, **both, **limits
    )
    teacher = teacher_rollout(pair.teacher, ids, policy=policy, uniforms=uniforms[1], **limits)
    with tempfile.TemporaryDirectory() as folder:
        asked = {"pair": PAIR, "task": TASK, "steps": UPDATES, "trace_prompts": 0}
        trained = skd.train(with_preset({**asked, "run_dir": f"{folder}/run"}), progress=False)
    late = together(trained.student)
    row = next(
        n
        for n in range(len(prompts))
        if early[n].replaced >= REFUSED > late[n].replaced
        and all(texts[n].finished for texts in (early, late, alone, lossless, teacher))
    )

    def recorded(rollout: Rollout, student: Any, label: str, **more: Any) -> Trace:
        return short(
            skd.record_traces(
                pair,
                [rollout],
                uniforms=uniforms[:, row : row + 1],
                gamma=GAMMA,
                seed=0,
                student=student,
                **both,
                **more,
            )[0],
            label,
        )

    traces = [
        recorded(early[row], first, "early", accept_top_k=K),
        recorded(late[row], trained.student, "late", accept_top_k=K, step=UPDATES),
        recorded(alone[row], first, "alone", accept_top_k=pair.vocab_size, method="on_policy_kd"),
        recorded(teacher[row], first, "teacher", method="teacher_kd"),
        recorded(lossless[row], first, "lossless", rule="lossless"),
    ]
    write_traces(LESSONS, traces)
    for trace in traces:
        print(trace.header["lesson"], trace.replaced, trace.verified, trace.header["completion"])


def short(trace: Trace, lesson: str) -> Trace:
    """The trace with a name for the card that shows it, and the head of both models' lists."""
    trace.header |= {"lesson": lesson, "row": 0}
    for token in trace.tokens:
        for name in ("student_top", "teacher_top"):
            token[name] = token[name][:TOP]
    return trace


if __name__ == "__main__":
    main()
