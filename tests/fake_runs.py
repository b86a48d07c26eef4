"""A demo's run folders without a model: made-up numbers in real files."""

import math
from pathlib import Path

from synthetic import WORDS, make_trace

from skd_lab.files import append_jsonl, write_json_atomic
from skd_lab.records import write_traces

STEPS = 40


def write_demo(root: Path) -> Path:
    """runs/demo and its two rivals; returns the demo's folder."""
    for method in ("supervised_kd", "on_policy_kd", "skd"):
        folder = root / ("demo" if method == "skd" else f"demo-{method}")
        write_json_atomic(folder / "config.json", {"method": method, "accept_top_k": 3})
        for step in range(1, STEPS + 1):
            rate = 0.2 * math.exp(-step / 20) if method == "skd" else None
            record = {"step": step, "loss": 1 / step, "replacement_rate": rate}
            append_jsonl(folder / "steps.jsonl", record)
    texts = [f" {word}" for word in WORDS]
    for step, every in ((0, 4), (20, 8), (STEPS, 16)):
        traces = [make_trace(texts, replaced_every=every, step=step) for _ in range(2)]
        traces[1].header["row"] = 1
        write_traces(root / "demo" / "traces.ndjson", traces, append=True)
    score = {"metric": "facts_exact", "value": 0.6, "low": 0.55, "high": 0.65, "n": 300}
    measured = {
        "kl_references": 0.31,
        "kl_samples": 0.29,
        "replacement_rate_at_start": 0.21,
        "replacement_rate": 0.08,
        "cpu_seconds": 41.0,
    }
    rows = [
        {"name": "start", **score, **measured, "value": 0.4, "cpu_seconds": None},
        {"name": "skd", **score, **measured},
        {"name": "on_policy_kd", **score, **measured},
        {"name": "teacher", **score, **dict.fromkeys(measured), "value": 0.95},
    ]
    table = {"setting": "Chosen because the methods separate here.", "steps": STEPS, "rows": rows}
    write_json_atomic(root / "demo" / "table.json", table)
    return root / "demo"
