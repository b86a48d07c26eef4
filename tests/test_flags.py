"""Every field of RunConfig does something: changing it changes the run, or is refused."""

import dataclasses
import functools
import hashlib
import json
from importlib.util import find_spec
from pathlib import Path

import pytest

import skd_lab as skd
from skd_lab.config import RunConfig
from skd_lab.errors import SkdError

BUNDLED = Path(skd.__file__).parent / "bundled" / "tiny-qwen3"
BASE = dict(
    pair="tiny-qwen3", n_prompts=12, steps=2, batch_size=4, learning_rate=1e-3, accept_top_k=2,
    gamma=4, max_new_tokens=12, trace_prompts=1, trace_every=2, device="cpu",
)  # fmt: skip

WEIGHTS, TRACES, EVALS, CHECKPOINTS, FILES = "weights", "traces", "evals", "checkpoints", "files"

# where bitsandbytes is installed it changes the text, elsewhere it is refused
FEW_BITS = ("4bit", WEIGHTS if find_spec("bitsandbytes") else "needs bitsandbytes", {})

# field: the new value, what it changes (or words of the refusal), and what else both runs have
CHANGES = {
    "pair": ("tiny-nobody", "tiny-nobody", {}),
    "student": (str(BUNDLED / "teacher"), WEIGHTS, {}),
    "teacher": (str(BUNDLED / "student"), WEIGHTS, {}),
    "dtype": ("float64", WEIGHTS, {}),
    "teacher_dtype": ("float64", WEIGHTS, {}),
    "teacher_quantised": FEW_BITS,
    "student_quantised": ("4bit", "quantised student cannot be trained", {}),
    "lora_rank": (2, WEIGHTS, {}),
    "lora_alpha": (1, WEIGHTS, {"lora_rank": 2}),
    "lora_dropout": (0.5, WEIGHTS, {"lora_rank": 2}),
    "lora_targets": ("q_proj", WEIGHTS, {"lora_rank": 2}),
    "device": ("cuda:99", "cuda:99", {}),
    "mixed_precision": ("bf16", WEIGHTS, {}),
    "shard_student": (True, "several processes, and there is one", {}),
    "task": ("gsm8k", "gsm8k|hub|network", {"n_prompts": 4}),
    "data_path": ("mine.jsonl", "reads no file", {}),
    "n_prompts": (4, WEIGHTS, {}),
    "max_prompt_tokens": (8, "longer than --max-prompt-tokens 8", {}),
    "over_long": ("cut_left", WEIGHTS, {"max_prompt_tokens": 40}),
    "thinking": (True, "no switch for it", {}),
    "method": ("on_policy_kd", WEIGHTS, {}),
    "objective": ("reverse_kl", WEIGHTS, {}),
    "beta": (0.9, WEIGHTS, {"objective": "generalized_jsd"}),
    "skew": (0.9, WEIGHTS, {"objective": "skewed_reverse_kl"}),
    # the student knows its training references by heart: at temperature 1 it writes them too
    "on_policy_fraction": (1.0, WEIGHTS, {"method": "gkd", "student_temperature": 3.0}),
    "settings": ("budget=3", "'skd' with objective 'forward_kl' has no setting 'budget'", {}),
    "loss_temperature": (2.0, WEIGHTS, {}),
    "reduction": ("mean_over_sequences", WEIGHTS, {"max_new_tokens": 40}),
    "accept_top_k": (1, WEIGHTS, {}),
    "replacement": ("teacher_argmax", WEIGHTS, {"accept_top_k": 1, "seed": 4}),
    "variant": ("released", WEIGHTS, {"teacher_temperature": 3.0}),
    "gamma": (1, TRACES, {}),
    "decoding": ("recorded", "needs a CUDA device", {}),  # a cost otherwise, and no change
    "max_new_tokens": (6, WEIGHTS, {}),
    "student_temperature": (3.0, WEIGHTS, {}),
    "student_top_k": (1, WEIGHTS, {"student_temperature": 3.0}),
    "student_top_p": (0.1, WEIGHTS, {"student_temperature": 3.0}),
    "student_greedy": (True, WEIGHTS, {"student_temperature": 3.0}),
    "teacher_temperature": (9.0, WEIGHTS, {"accept_top_k": 1}),
    "teacher_top_k": (1, WEIGHTS, {"accept_top_k": 1, "teacher_temperature": 9.0}),
    "teacher_top_p": (0.1, WEIGHTS, {"accept_top_k": 1, "teacher_temperature": 9.0}),
    "teacher_greedy": (True, WEIGHTS, {"accept_top_k": 1, "teacher_temperature": 9.0}),
    "steps": (3, WEIGHTS, {}),
    "batch_size": (2, WEIGHTS, {}),
    "microbatch_size": (1, WEIGHTS, {}),  # other sums, so other last digits; cost otherwise
    "optimizer": ("paged_adamw_8bit", "needs a CUDA device|pages between a CUDA device", {}),
    "learning_rate": (1e-2, WEIGHTS, {}),
    "lr_schedule": ("constant", WEIGHTS, {}),
    "warmup_steps": (1, WEIGHTS, {}),
    "weight_decay": (0.5, WEIGHTS, {}),
    "max_grad_norm": (1e-3, WEIGHTS, {}),
    "seed": (7, WEIGHTS, {}),
    "save_every": (1, CHECKPOINTS, {}),
    "keep_checkpoints": (1, CHECKPOINTS, {"save_every": 1}),
    "eval_every": (1, EVALS, {"eval_prompts": 2}),
    "eval_prompts": (3, EVALS, {"eval_every": 2}),
    "trace_every": (1, TRACES, {}),
    "trace_prompts": (2, TRACES, {}),
    "track": ("tensorboard", FILES, {}),
}
ELSEWHERE = {"run_dir", "resume", "overwrite"}  # the last test
ELSEWHERE |= {"gradient_checkpointing"}  # changes memory alone: tests/test_trainable.py


def outcome(run_dir, **changes):
    """What a run left behind, by aspect."""
    config = RunConfig(**(BASE | changes | {"run_dir": str(run_dir)}))
    result = skd.train(config, progress=False)
    weights = hashlib.sha256()
    for value in result.student.state_dict().values():
        weights.update(value.double().numpy().tobytes())
    run = skd.Run(run_dir)
    evals = [{k: v for k, v in line.items() if k != "seconds"} for line in run.evals]
    return {
        WEIGHTS: weights.hexdigest(),
        TRACES: json.dumps([[trace.header, trace.tokens] for trace in run.traces]),
        EVALS: json.dumps(evals),
        CHECKPOINTS: sorted(path.name for path in (run_dir / "checkpoints").iterdir()),
        FILES: sorted(path.name for path in run_dir.iterdir()),
    }


@pytest.fixture(scope="module")
def baseline(tmp_path_factory):
    """Outcomes of the runs that others are compared with, each made once."""

    @functools.cache
    def made(others):
        # every run lies in a folder of the same name, which the records hold
        return outcome(tmp_path_factory.mktemp("base") / "run", **dict(others))

    return made


def test_every_field_has_its_line_here():
    fields = {field.name for field in dataclasses.fields(RunConfig)}
    assert set(CHANGES) | ELSEWHERE == fields


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_field_changes_the_run_or_is_refused(tmp_path, baseline, name):
    value, seen, others = CHANGES[name]
    if seen not in (WEIGHTS, TRACES, EVALS, CHECKPOINTS, FILES):
        with pytest.raises(SkdError, match=f"(?is){seen}"):
            outcome(tmp_path / "run", **others, **{name: value})
        return
    before = baseline(tuple(sorted(others.items())))
    assert outcome(tmp_path / "run", **(others | {name: value}))[seen] != before[seen]


def test_the_same_fields_give_the_same_run(tmp_path, baseline):
    assert outcome(tmp_path / "run") == baseline(())


def test_the_run_folder_is_kept_gone_on_with_or_replaced_as_asked(tmp_path):
    first = outcome(tmp_path / "run")
    assert outcome(tmp_path / "other")[WEIGHTS] == first[WEIGHTS]  # run_dir: another folder
    with pytest.raises(SkdError, match="already a run"):
        outcome(tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "mark").touch()
    outcome(tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "checkpoints" / "mark").exists()
    outcome(tmp_path / "run", overwrite=True)
    assert not (tmp_path / "run" / "checkpoints" / "mark").exists()
