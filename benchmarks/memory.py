"""The dry run's estimates beside what runs really took: python -m benchmarks.memory.

Six configurations on the CPU, a process each: two updates of random models of real classes, on
prompts as long as they may be. Measured is the peak of the process' resident memory while it
trains, less what it held after everything was imported and used once. Writes
benchmarks/results/memory.json.
"""

import argparse
import ctypes
import dataclasses
import gc
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

RESULTS = Path(__file__).parent / "results" / "memory.json"
PAGE = Path(__file__).parent.parent / "docs" / "memory.md"
_MARKS = ("<!-- measured -->\n", "<!-- end -->\n")
WORDS = 32_000


@dataclasses.dataclass(frozen=True)
class Case:
    """One configuration: what the models are, and what the run does."""

    name: str
    architecture: str
    student: dict[str, int]
    teacher: dict[str, int]
    run: dict[str, Any]


_SMALL = dict(hidden_size=384, intermediate_size=1024, num_hidden_layers=6)
_LARGE = dict(hidden_size=640, intermediate_size=1792, num_hidden_layers=8)
_BASE = dict(
    batch_size=8, microbatch_size=4, max_prompt_tokens=96, max_new_tokens=16, gamma=4,
    accept_top_k=WORDS, task="jsonl",
)  # fmt: skip

CASES = [
    Case("qwen3, skd", "Qwen3", _LARGE, _LARGE, dict(method="skd")),
    Case(
        "qwen3, on_policy_kd, many tokens at once", "Qwen3", _SMALL, _LARGE,
        dict(method="on_policy_kd", batch_size=12, microbatch_size=None, max_prompt_tokens=208),
    ),
    Case(
        "gemma3, skd, gradient checkpointing", "Gemma3", _LARGE, _LARGE,
        dict(method="skd", microbatch_size=8, gradient_checkpointing=True),
    ),
    Case(
        "gemma3, supervised_kd, LoRA", "Gemma3", _LARGE, _LARGE,
        dict(
            method="supervised_kd", lora_rank=16, batch_size=6, microbatch_size=6,
            max_prompt_tokens=208,
        ),
    ),
    Case("gemma2, sft", "Gemma2", _LARGE, _SMALL, dict(method="sft")),
    Case(
        "qwen3, skd, bfloat16 with masters", "Qwen3", _LARGE, _LARGE,
        dict(method="skd", dtype="bfloat16", batch_size=2, max_prompt_tokens=48),
    ),
]  # fmt: skip


def build(case: Case, folder: Path) -> dict[str, Any]:
    """Models, tokenizer and prompts of a case on the disk; the fields of its run."""
    import torch
    import transformers
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = {
        word: i for i, word in enumerate(["<pad>", "<end>", *(f"w{i}" for i in range(2, WORDS))])
    }
    core = Tokenizer(WordLevel(words, unk_token="<pad>"))
    core.pre_tokenizer = Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="<end>",
        chat_template="{% for m in messages %}{{ m.content }}{% endfor %}",
    )  # fmt: skip
    name = {"Gemma3": "Gemma3Text"}.get(case.architecture, case.architecture)
    for seed, (role, shape) in enumerate((("student", case.student), ("teacher", case.teacher))):
        more = {} if case.architecture == "Qwen2" else {"head_dim": 64}
        config = getattr(transformers, f"{name}Config")(
            vocab_size=WORDS, num_attention_heads=shape["hidden_size"] // 64,
            num_key_value_heads=2, max_position_embeddings=1024, pad_token_id=0, eos_token_id=1,
            bos_token_id=None, tie_word_embeddings=True, **shape, **more,
        )  # fmt: skip
        torch.manual_seed(seed)
        model = getattr(transformers, f"{case.architecture}ForCausalLM")(config)
        model.save_pretrained(folder / role)
        tokenizer.save_pretrained(folder / role)
        del model
    run = {**_BASE, **case.run}
    prompt = [f"w{2 + i % (WORDS - 2)}" for i in range(run["max_prompt_tokens"])]
    rows = [
        {
            "prompt": " ".join(prompt[i:] + prompt[:i]),
            "completion": " " + " ".join(prompt[: run["max_new_tokens"] - 1]),
        }
        for i in range(run["batch_size"] + 8)  # some of them are kept for validation
    ]
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {
        **run, "student": str(folder / "student"), "teacher": str(folder / "teacher"),
        "data_path": str(data), "run_dir": str(folder / "run"), "steps": 2, "trace_prompts": 0,
        "device": "cpu",
    }  # fmt: skip


def measure(fields: dict[str, Any]) -> dict[str, float]:
    """Train in this process; bytes before, and at the peak."""
    import torch

    import skd_lab

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:  # imports, buffers of libraries, first calls
        warm = dict(pair="tiny-qwen3", steps=1, batch_size=2, n_prompts=2, max_new_tokens=8)
        skd_lab.train(
            skd_lab.RunConfig(**warm, trace_prompts=0, device="cpu", run_dir=f"{folder}/warm"),
            progress=False,
        )
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _status("VmRSS")
    skd_lab.train(skd_lab.RunConfig(**fields), progress=False)
    return {"before": before, "peak": _status("VmHWM")}


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no {name} in /proc/self/status: this runs on Linux alone")


def compare(case: Case, python: str = sys.executable) -> dict[str, Any]:
    """One case: estimated, then measured in a process of its own."""
    from skd_lab.config import RunConfig
    from skd_lab.memory import plan

    with tempfile.TemporaryDirectory() as name:
        fields = build(case, Path(name))
        estimate = plan(RunConfig(**fields))
        command = [python, "-m", "benchmarks.memory", "--child", json.dumps(fields)]
        # freed tensors go back to the system at once, as a GPU's go back to torch's pool: what
        # glibc keeps in its heap for later would be measured instead
        env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "PYTHONPATH": os.getcwd()}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
        found = json.loads(done.stdout.splitlines()[-1])
    measured = found["peak"] - found["before"]
    return {
        "case": case.name,
        "estimated": estimate.peak,
        "measured": measured,
        "ratio": estimate.peak / measured,
        "worst": max(estimate.times, key=estimate.times.__getitem__),
        "parts": dict(estimate.parts),
        "times": dict(estimate.times),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="Names of cases that contain this.")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(json.loads(args.child))))
        return
    for case in CASES:
        if args.only and args.only not in case.name:
            continue
        row = compare(case)
        print(
            f"{row['case']:<42} estimated {row['estimated'] / 2**30:.2f} GiB, measured "
            f"{row['measured'] / 2**30:.2f} GiB: {row['ratio']:.2f} ({row['worst']})",
            flush=True,
        )
        save(row)


def save(row: dict[str, Any]) -> None:
    """Put a case's row in the place of its older one."""
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else []
    rows = {old["case"]: old for old in known} | {row["case"]: row}
    ordered = [rows[case.name] for case in CASES if case.name in rows]
    RESULTS.write_text(json.dumps(ordered, indent=2) + "\n", encoding="utf-8")
    before, rest = PAGE.read_text(encoding="utf-8").split(_MARKS[0])
    after = rest.split(_MARKS[1])[1]
    text = before + _MARKS[0] + table(ordered) + _MARKS[1] + after
    PAGE.write_text(text, encoding="utf-8")


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| configuration (CPU) | estimated | measured | estimated / measured | worst time |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        sizes = " | ".join(f"{row[key] / 2**30:.2f} GiB" for key in ("estimated", "measured"))
        lines.append(f"| {row['case']} | {sizes} | {row['ratio']:.2f} | {row['worst']} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
