"""Notebooks hold saved outputs, use public names only, and show nothing of the machine they ran on.

That they run, and give these outputs, is tested by `pytest --nbval notebooks` (make test).
"""

import ast
import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


def code_cells(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_there_is_a_quickstart():
    assert "00_quickstart.ipynb" in [path.name for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_it_was_run_from_the_top_and_says_nothing_of_the_machine(path):
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output["output_type"] for cell in cells for output in cell["outputs"]}
    assert kinds <= {"stream", "execute_result", "display_data"}, kinds
    text = path.read_text(encoding="utf-8")
    assert not any(place in text for place in ("/home/", "/root/", "/tmp/", "/work/", "Users"))
    assert len(text) < 400_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_it_uses_public_names_only(path):
    import skd_lab

    for cell in code_cells(path):
        for node in ast.walk(ast.parse("".join(cell["source"]))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert "skd_lab." not in ast.unparse(node), ast.unparse(node)
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "skd":
                assert node.attr in skd_lab.__all__


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_the_strip_is_readable_where_scripts_are_kept_out(path):
    pages = [
        "".join(output["data"]["text/html"])
        for cell in code_cells(path)
        for output in cell["outputs"]
        if "text/html" in output.get("data", {})
    ]
    assert any("<del>" in page and "<ins>" in page for page in pages)
