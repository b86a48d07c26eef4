"""What goes wrong for a reader of the notebooks leads to a sentence that says what to do.

A wrong answer: tests/test_course.py. A kernel without the package: tests/test_colab.py.
"""

import json
import os
import re
import time
from pathlib import Path

import pytest
import torch

from skd_lab import course
from skd_lab.course.exercises import EXERCISES, judge

FOLDER = Path(__file__).parent.parent / "notebooks"


class Kernel:
    """A kernel as a notebook talks to it."""

    def __init__(self, manager, client):
        self.manager, self.client = manager, client

    def start(self, source):
        self.asked = self.client.execute(source)

    def finish(self):
        """What was printed, and the error as shown ("" if there is none)."""
        printed, error = "", ""
        while True:
            message = self.client.get_iopub_msg(timeout=200)
            kind, content = message["msg_type"], message["content"]
            if message["parent_header"].get("msg_id") != self.asked:
                continue
            if kind == "stream" and content["name"] == "stdout":
                printed += content["text"]
            elif kind == "error":
                assert "\n".join(content["traceback"]).strip(), "an error that nobody sees"
                error = f"{content['ename']}: {content['evalue']}"
                shown = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(content["traceback"]))
                assert content["evalue"] in shown
            elif kind == "status" and content["execution_state"] == "idle":
                return printed, error

    def run(self, source):
        self.start(source)
        return self.finish()


@pytest.fixture
def kernel(tmp_path):
    manager_module = pytest.importorskip("jupyter_client.manager", reason="no jupyter here")
    environment = {**os.environ, "TMPDIR": str(tmp_path), "JUPYTER_DATA_DIR": str(tmp_path)}
    manager, client = manager_module.start_new_kernel(cwd=tmp_path, env=environment)
    yield Kernel(manager, client)
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def code(name):
    [path] = FOLDER.glob(f"{name}_*.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.slow
def test_a_cell_run_out_of_order_says_which_to_run_first(kernel):
    setup, _, *later = code("02")
    assert kernel.run(setup)[1] == ""
    cell = next(cell for cell in later if cell.startswith("explore(\n    cut"))
    said = kernel.run(cell)[1]
    assert said.startswith(
        "NameError: name 'explore' is not defined. Is it misspelt? If not, a cell"
    )
    assert said.endswith("choose Run > Run All Above Selected Cell, then run this one again.")
    assert kernel.run("print(1 + 1)") == ("2\n", "")
    # other errors are as they were, and a name that a function misses is explained once
    assert kernel.run("1 / 0") == ("", "ZeroDivisionError: division by zero")
    again = "try:\n    pair\nexcept NameError as error:\n    kept = error\nraise kept"
    for _ in range(2):
        assert kernel.run(again)[1].count("Is it misspelt?") == 1
    assert "UnboundLocalError" in kernel.run("def f():\n    x += 1\nf()")[1]
    assert "misspelt" not in kernel.run("f()")[1]


@pytest.mark.slow
def test_an_interrupted_training_cell_leaves_the_kernel_usable_and_goes_on(kernel, tmp_path):
    cells = code("00")
    at = next(number for number, cell in enumerate(cells) if "skd.train(" in cell)
    before = "import skd_lab as skd\nK = 3"  # all that the cell needs of those above
    training = cells[at].replace('"steps": 60', '"steps": 12')
    assert training != cells[at]
    assert kernel.run(before)[1] == ""
    kernel.start(training)
    for _ in range(1000):
        if any(path.read_text() for path in tmp_path.glob("*/quickstart/steps.jsonl")):
            break
        time.sleep(0.1)
    kernel.manager.interrupt_kernel()
    printed, error = kernel.finish()
    stopped = re.match(r"Stopped: .*?(\d+) of 12 updates", error)
    assert stopped and 1 <= int(stopped[1]) < 12, error
    assert "resume" in error and printed == ""
    assert kernel.run("print(K)") == ("3\n", "")
    assert kernel.run(training) == ("12 updates done\n", "")
    [rows] = tmp_path.glob("*/quickstart/steps.jsonl")
    steps = [json.loads(row)["step"] for row in rows.read_text().splitlines()]
    assert steps == list(range(1, 13))


def test_a_gpu_without_a_net_is_no_place_for_real_models(monkeypatch):
    import huggingface_hub

    asked = []

    def unreachable(self, name, timeout):
        asked.append((name, timeout))
        raise ConnectionError("no network")

    for name in ("HF_HUB_OFFLINE", "SKD_FAST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (16 * 2**30, 16 * 2**30))
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    assert course.real_models_available(8) is False
    assert asked == [("Qwen/Qwen3-0.6B", 5)]
    assert course.real_models_available(24) is False and len(asked) == 1  # too small a GPU
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: None)
    assert course.real_models_available(8) is True
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert course.real_models_available(8) is False


def test_a_machine_without_a_gpu_or_a_package_is_told_what_that_means(monkeypatch, capsys):
    import importlib.util

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "ipywidgets" else find(name)
    )
    course.describe_machine()
    said = capsys.readouterr().out
    assert "no GPU: everything here runs on the CPU with the bundled models" in said
    assert "missing: ipywidgets. Install with: pip install ipywidgets" in said


@pytest.mark.parametrize(
    ("number", "answer", "says"),
    [
        ("06.2", lambda t, s, m: torch.zeros(len(m)), "wants a number, and got a list"),
        ("06.2", lambda t, s, m: "0.5", "wants a number, and got text"),
        ("06.2", lambda t, s, m: t @ s[:1], "your function stopped with RuntimeError"),
        ("06.3", lambda P, L: [0], "1 values where"),
        ("06.3", lambda P, L: torch.arange(P - 1, L), "values where"),
        ("06.3", lambda P, L: L - 1, "wants a list, and got a number"),
        ("02.1", lambda logits, token, k: 1, "wants True or False, and got a number (1)"),
        ("02.1", "in_top_k", "wants a function, and got 'in_top_k'"),
        ("02.2", 2, "wants one of the letters a, b, c, and got 2"),
        ("04.1", lambda sources: {}, "wants a number, and got a dictionary"),
    ],
)
def test_an_answer_of_the_wrong_type_or_shape_says_what_is_wanted(number, answer, says):
    assert says in judge(EXERCISES[number], answer)
