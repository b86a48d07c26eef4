"""Out of memory: the same gradient and the same texts from half the rows, or what to change."""

import gc
import json
import weakref

import pytest
import torch

import skd_lab as skd
from skd_lab import learner, step
from skd_lab.errors import NoMemoryError, UsageError
from skd_lab.halving import is_out_of_memory, with_half
from skd_lab.sources import SOURCES

FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
CPU_FULL = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 8")
SETTINGS = dict(
    pair="tiny-qwen3", dtype="float64", device="cpu", steps=3, batch_size=4, n_prompts=8,
    max_new_tokens=12, learning_rate=1e-3, trace_prompts=0, accept_top_k=3, save_every=1,
)  # fmt: skip


def train(run_dir, **changes):
    return skd.train(skd.RunConfig(**SETTINGS | changes, run_dir=str(run_dir)), progress=False)


def measured(result):
    keys = ("loss", "grad_norm", "student_entropy", "teacher_nll", "completion_tokens")
    return [[record.metrics[key] for key in keys] for record in result.steps]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return measured(train(tmp_path_factory.mktemp("undisturbed") / "run"))


def full_above(monkeypatch, module, name, rows, times, size=len, error=FULL):
    """`module.name` fails, so many times, when it gets more than so many rows."""
    original, asked = getattr(module, name), []

    def limited(part, *rest):
        asked.append(size(part))
        if asked[-1] > rows and sum(n > rows for n in asked) <= times:
            raise error
        return original(part, *rest)

    monkeypatch.setattr(module, name, limited)
    return asked


@pytest.mark.parametrize("error", [FULL, CPU_FULL])
def test_the_update_is_done_again_with_half_the_rows_and_the_same_gradient(
    tmp_path, monkeypatch, caplog, undisturbed, error
):
    asked = full_above(monkeypatch, step, "collate", rows=2, times=1, error=error)
    result = train(tmp_path / "run")
    # the first update: 4 rows are too many; from then on two at a time, without trying again
    assert asked == [4, 2, 2, 2, 2, 2, 2]
    assert "No memory left in update 1: going on with 2 rows at a time, not 4" in caplog.text
    halves = train(tmp_path / "halves", microbatch_size=2)
    assert measured(result) == measured(halves)  # to the last bit
    for one, other in zip(measured(result), undisturbed, strict=True):
        assert one == pytest.approx(other, rel=0, abs=1e-12)


def test_texts_are_the_same_from_half_the_rows(tmp_path, monkeypatch, caplog, undisturbed):
    texts = []
    count = step.count_window

    def watched(accelerator, rollouts):
        texts.append([rollout.completion_ids.tolist() for rollout in rollouts])
        return count(accelerator, rollouts)

    monkeypatch.setattr(learner, "count_window", watched)
    train(tmp_path / "whole")
    whole = texts.copy()
    texts.clear()
    inner, asked = SOURCES["interleaved"], []

    def limited(request):
        asked.append(list(request.rows))
        if len(request.rows) > 2:
            raise torch.OutOfMemoryError(str(FULL))
        return inner(request)

    monkeypatch.setitem(SOURCES, "interleaved", limited)
    result = train(tmp_path / "run")
    assert texts == whole and len(whole) == 3
    assert asked == [[0, 1, 2, 3], [0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11]]
    assert "No memory left in the texts of update 1" in caplog.text
    for one, other in zip(measured(result), undisturbed, strict=True):
        assert one == pytest.approx(other, rel=0, abs=1e-12)


def test_a_second_failure_says_what_to_change_and_a_smaller_microbatch_goes_on(
    tmp_path, monkeypatch, undisturbed
):
    def later(number):  # the third update's rows never fit
        asked = full_above(monkeypatch, step, "collate", rows=1, times=99)
        asked.extend([1] * number)

    apply, steps = learner.apply_gradients, []

    def counted(*everything):
        steps.append(1)
        if len(steps) == 2:
            later(0)
        return apply(*everything)

    monkeypatch.setattr(learner, "apply_gradients", counted)
    with pytest.raises(
        NoMemoryError, match="update 3, neither with 4 rows.*nor with 2.*Lower --microbatch-size"
    ):
        train(tmp_path / "run")
    with pytest.raises(UsageError, match="--batch-size was 4 and is now 2"):
        train(tmp_path / "run", resume=True, batch_size=2)
    result = train(tmp_path / "run", resume=True, microbatch_size=1)
    for one, other in zip(measured(result), undisturbed, strict=True):
        assert one == pytest.approx(other, rel=0, abs=1e-12)
    lines = (tmp_path / "run/steps.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]


def test_one_row_cannot_be_halved():
    def work(rows):
        raise FULL

    with pytest.raises(NoMemoryError, match="update 3, with one row at a time. Buy more."):
        with_half(work, 1, "update 3", "Buy more.")


def test_what_the_first_try_held_is_let_go_before_the_second():
    held = []

    class Tensor:
        pass

    def work(rows):
        if rows == 5:
            tensor = Tensor()
            held.append(weakref.ref(tensor))
            raise torch.OutOfMemoryError(str(FULL))
        gc.disable()  # reference counts have to do
        gc.enable()
        assert held[0]() is None
        return "done"

    assert with_half(work, 5, "update 1", "") == ("done", 3)


def test_other_errors_are_no_lack_of_memory():
    tried = []

    def work(rows):
        tried.append(rows)
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        with_half(work, 4, "update 1", "")
    assert tried == [4]
    assert is_out_of_memory(MemoryError()) and not is_out_of_memory(ValueError("out of memory"))
