"""Jobs for processes that torchrun starts: `python -m torch.distributed.run ... two_processes.py`.

    two_processes.py FOLDER JOB...

Every process writes FOLDER/report-RANK.json: how many processes there were, and what each job saw.
Used by test_processes.py and test_processes_killed.py, which run the same configurations alone.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import kill_points

STEPS = 25
SETTINGS: dict[str, Any] = dict(
    pair="tiny-qwen3", dtype="float64", device="cpu", steps=STEPS, batch_size=4, n_prompts=7,
    max_new_tokens=12, learning_rate=1e-3, trace_prompts=1, trace_every=10, save_every=5,
    accept_top_k=3, microbatch_size=1,
)  # fmt: skip
"""Seven prompts: the last window of an epoch is shared unevenly. In float64 curves are exact."""
RUNS: dict[str, dict[str, Any]] = {
    "skd": {"method": "skd"},
    "on_policy_kd": {"method": "on_policy_kd"},
    "supervised_kd": {"method": "supervised_kd", "dtype": "float32"},
    "short": {"method": "skd", "steps": 8, "max_new_tokens": 24, "save_every": 3},
    "lora": {"method": "skd", "steps": 8, "save_every": 3, "lora_rank": 2},
}
if find_spec("bitsandbytes"):  # a 4-bit teacher computes in float32
    RUNS["lora"] |= {"teacher_quantised": "4bit", "teacher_dtype": "float32"}
"""Runs, by the first word of their names."""


def launch(folder: Path, *jobs: str, processes: int = 2, code: int | None = 0) -> list[dict]:
    """Run the jobs in that many processes; what each process reported, in their order.

    Args:
        folder: jobs write below it.
        jobs: names of JOBS, with arguments behind colons.
        processes: asked of torchrun.
        code: its exit code that is expected; None for any but 0.
    """
    for old in folder.glob("report-*.json"):
        old.unlink()
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *("--nproc_per_node", str(processes), __file__, str(folder), *jobs),
    ]
    threads = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=threads, capture_output=True, text=True, timeout=600)
    fits = done.returncode != 0 if code is None else done.returncode == code
    assert fits, f"exit code {done.returncode}\n{done.stderr[-6000:]}"
    found = sorted(folder.glob("report-*.json"))
    return [json.loads(path.read_text()) | {"said": done.stderr} for path in found]


def run(folder: Path, name: str, **changes: Any) -> Any:
    """One training run of RUNS in this process, with all others if there are any."""
    import skd_lab as skd

    settings = SETTINGS | RUNS.get(name.partition("-")[0], {}) | changes
    config = skd.RunConfig(**settings, run_dir=str(folder / name))
    return skd.train(config, progress=False)


@contextlib.contextmanager
def at_update(number: int, do: Any, before: bool = False) -> Iterator[None]:
    """Inside, `do(loop)` is called in the nth update, after its rollouts (or before them)."""
    from skd_lab.train import _Loop

    rollouts = _Loop._rollouts

    def planned(self: Any) -> Any:
        if before and self.done == number - 1:
            do(self)
        made = rollouts(self)
        if not before and self.done == number - 1:
            do(self)
        return made

    _Loop._rollouts = planned
    try:
        yield
    finally:
        _Loop._rollouts = rollouts


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


@contextlib.contextmanager
def first_gradients(into: dict[str, Any]) -> Iterator[None]:
    """Keep every gradient of the first step, as the optimizer sees it."""
    from skd_lab import learner

    apply = learner.apply_gradients

    def watched(accelerator: Any, module: Any, *rest: Any) -> Any:
        if not into:
            into.update({n: p.grad.clone() for n, p in module.named_parameters()})
        return apply(accelerator, module, *rest)

    learner.apply_gradients = watched
    try:
        yield
    finally:
        learner.apply_gradients = apply


def curves(folder: Path) -> dict:
    """The runs of RUNS; the first step's gradients, those of all processes and file writes."""
    import torch
    import torch.distributed as dist

    written, gradients = [], {}

    def hook(event: str, args: tuple) -> None:
        if event == "open" and isinstance(args[0], str) and args[0].startswith(str(folder)):
            if args[2] & (os.O_WRONLY | os.O_RDWR):
                written.append(args[0])

    sys.addaudithook(hook)
    with first_gradients(gradients):
        run(folder, "skd")
    apart = 0.0
    for gradient in gradients.values():
        of_all = [torch.zeros_like(gradient) for _ in range(dist.get_world_size())]
        dist.all_gather(of_all, gradient)
        apart = max(apart, max(float((one - gradient).abs().max()) for one in of_all))
    if rank() == 0:
        plain = {name.removeprefix("module."): value for name, value in gradients.items()}
        torch.save(plain, folder / "gradients.pt")
    for name in ("on_policy_kd", "supervised_kd"):
        run(folder, name)
    mine = [path for path in written if not path.endswith("gradients.pt")]
    return {"apart": apart, "gradients": len(gradients), "written": mine[:5]}


def stopped_and_resumed(folder: Path) -> dict:
    """SIGTERM to the second process in the fifth update; both stop, and go on."""
    from skd_lab.stopping import Stopped

    def terminate(_: Any) -> None:
        if rank() == 1:
            signal.raise_signal(signal.SIGTERM)

    said = ""
    with at_update(5, terminate):
        try:
            run(folder, "short-stopped")
        except Stopped as stopped:
            said = f"{stopped.exit_code} {stopped}"
    if rank() == 0:  # for one process to go on with
        subprocess.run(["cp", "-r", folder / "short-stopped", folder / "short-alone"], check=True)
    result = run(folder, "short-stopped", resume=True)
    return {"said": said, "steps": len(result.steps)}


def refusals(folder: Path) -> dict:
    """What processes cannot do together."""
    from skd_lab.errors import UsageError

    refused = {}

    def attempt(what: str, name: str, **changes: Any) -> None:
        try:
            run(folder, name, **changes)
        except UsageError as error:
            refused[what] = str(error)

    attempt("batch", "odd", batch_size=5)
    with contextlib.suppress(UsageError):
        run(folder, "mine", steps=4, save_every=2)
    if rank() == 1:
        subprocess.run(["cp", "-r", folder / "mine", folder / "other"], check=True)
        subprocess.run(["rm", "-r", folder / "other/checkpoints/step-000004"], check=True)
    name = "mine" if rank() == 0 else "other"
    attempt("disks", name, steps=4, save_every=2, resume=True)
    return refused


def no_memory(folder: Path) -> dict:
    """The second process runs out of memory twice in the third update; nobody waits for it."""
    import torch

    from skd_lab import step

    failed = []
    collate = step.collate

    def full(part: Any, pad_id: int) -> Any:
        if rank() == 1 and planned and len(part) == planned[0]:
            failed.append(len(part))
            planned.clear()
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return collate(part, pad_id)

    planned: list[int] = []
    step.collate = full
    try:
        with at_update(3, lambda _: planned.append(2)):
            run(folder, "short-full", microbatch_size=2)
    finally:
        step.collate = collate
    return {"failed": failed}


def sharded(folder: Path) -> dict:
    """The student split over the processes: a whole run, and one that is stopped and goes on."""
    import torch
    from torch.distributed.tensor import DTensor

    from skd_lab.stopping import Stopped

    forwards: list[int] = []
    seen: dict[str, Any] = {"forwards": forwards}

    def look(loop: Any) -> None:
        parameters = dict(loop.pair.student.named_parameters())
        seen["split"] = all(isinstance(p, DTensor) for p in parameters.values())
        seen["held"] = sum(p.to_local().numel() for p in parameters.values())
        seen["whole"] = sum(p.numel() for p in parameters.values())

    def count(loop: Any) -> None:
        forwards.append(0)

        def hook(module: Any, *_: Any) -> None:
            forwards[-1] += not module.training  # rollouts alone

        loop.pair.student.model.layers[0].register_forward_hook(hook)

    gradients: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        stack.enter_context(first_gradients(gradients))
        stack.enter_context(at_update(1, count, before=True))
        stack.enter_context(at_update(3, look, before=True))
        for update in range(2, 9):
            stack.enter_context(at_update(update, lambda _: forwards.append(0), before=True))
        run(folder, "short-sharded", shard_student=True)
    whole = {name: gradient.full_tensor() for name, gradient in gradients.items()}
    if rank() == 0:
        torch.save(whole, folder / "sharded_gradients.pt")
    # accelerate's own way of asking for shards, which it forgets on CPUs
    os.environ["ACCELERATE_USE_FSDP"] = "true"
    with at_update(5, lambda _: signal.raise_signal(signal.SIGTERM)):
        with contextlib.suppress(Stopped):
            run(folder, "short-shards")
    del os.environ["ACCELERATE_USE_FSDP"]
    if rank() == 0:
        subprocess.run(
            ["cp", "-r", folder / "short-shards", folder / "short-unsharded"], check=True
        )
    run(folder, "short-shards", resume=True, shard_student=True)
    return seen


def killed(folder: Path, name: str, which: str, point: str) -> dict:
    """kill -9 of one process: where a checkpoint gets its name, or in an update ("4+0.01")."""
    if point == "checkpoint":
        if rank() == int(which):
            kill_points._kill_at(str(folder), "checkpoint:1", 0.0)
        run(folder, name)
    update, seconds = map(float, point.split("+"))

    def kill(_: Any) -> None:
        if rank() == int(which):
            threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()

    with at_update(int(update), kill):
        run(folder, name)
    return {}


def whole(folder: Path, name: str) -> dict:
    """A run that nothing disturbs."""
    return {"steps": len(run(folder, name).steps)}


def resumed(folder: Path, name: str) -> dict:
    """Go on with a run that one process began, or that was killed."""
    return {"steps": len(run(folder, name, resume=True).steps)}


JOBS = {
    job.__name__: job
    for job in (
        *(curves, stopped_and_resumed, whole, resumed, refusals, no_memory, sharded, killed),
    )
}


if __name__ == "__main__":
    from accelerate import PartialState

    root = Path(sys.argv[1])
    state = PartialState(cpu=True)
    report: dict[str, Any] = {"processes": state.num_processes}
    for job in sys.argv[2:]:
        kind, *words = job.split(":")
        report[job] = JOBS[kind](root, *words)
    (root / f"report-{rank()}.json").write_text(json.dumps(report))
