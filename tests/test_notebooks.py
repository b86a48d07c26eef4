"""Notebooks are what their sources say, were run from the top, and show nothing of the machine.

That they run, and give these outputs, is tested by nbval (make test); the exercises by test_course.
"""

import ast
import importlib
import importlib.util
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
TEXTS = [*sorted((FOLDER / "source").glob("*.py")), FOLDER / "README.md"]
TAGS = {"nbval-ignore-output", "nbval-check-output", "raises-exception", "hide-input"}
PACKAGES = ("course", "cli", "family")
BY_NAME = {"ids": lambda path: path.name}


@pytest.fixture(scope="module")
def build():
    spec = importlib.util.spec_from_file_location("build_notebooks", FOLDER / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cells_of(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def code_cells(path):
    return [cell for cell in cells_of(path) if cell["cell_type"] == "code"]


def test_nothing_committed_is_stale(build):
    assert [path.stem for path in NOTEBOOKS] == [path.stem for path in build.sources()]
    assert build.stale() == [], "run make notebooks"


def test_a_notebook_that_is_not_what_its_source_says_is_found(build, tmp_path, monkeypatch):
    for folder in ("source", "solutions"):
        (tmp_path / folder).mkdir()
    source = tmp_path / "source" / "02_words.py"
    source.write_text("# %% [markdown]\n# # One\n\n# %%\n1 + 1\n", encoding="utf-8")
    monkeypatch.setattr(build, "HERE", tmp_path)
    monkeypatch.setattr(build, "chapters_with_exercises", lambda: ["02"])
    assert build.stale() == ["02_words.ipynb is missing", "solutions/02.py is not what the "
                             "exercises say"]  # fmt: skip
    (tmp_path / "solutions" / "02.py").write_text(build.solutions("02"), encoding="utf-8")
    build.nbformat.write(build.read_source(source), tmp_path / "02_words.ipynb")
    assert build.stale() == []
    source.write_text(source.read_text().replace("1 + 1", "1 + 2"), encoding="utf-8")
    assert build.stale() == ["02_words.ipynb is not what source/02_words.py says"]


def test_every_solution_passes_its_check(build, monkeypatch, capsys):
    monkeypatch.setenv("SKD_CHECK", "strict")
    for chapter in build.chapters_with_exercises():
        runpy.run_path(str(FOLDER / "solutions" / f"{chapter}.py"))
    said = capsys.readouterr().out.splitlines()
    assert [line[:1] for line in said] == ["✓"] * len(build.EXERCISES)


def test_every_exercise_is_asked_in_its_notebook(build):
    for number in build.EXERCISES:
        [path] = [path for path in NOTEBOOKS if path.name.startswith(number[:2])]
        sources = "\n".join("".join(cell["source"]) for cell in code_cells(path))
        assert f'check("{number}", ' in sources, number


@pytest.mark.parametrize("path", NOTEBOOKS, **BY_NAME)
def test_it_was_run_from_the_top_and_says_nothing_of_the_machine(path):
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output["output_type"] for cell in cells for output in cell["outputs"]}
    assert kinds <= {"stream", "execute_result", "display_data"}, kinds
    text = path.read_text(encoding="utf-8")
    assert not any(place in text for place in ("/home/", "/root/", "/tmp/", "/work/", "Users"))
    assert len(text) < 900_000
    assert '"widgets"' not in json.dumps(json.loads(text)["metadata"])


@pytest.mark.parametrize("path", NOTEBOOKS, **BY_NAME)
def test_it_uses_public_names_only(path):
    import skd_lab.course

    for cell in code_cells(path):
        for node in ast.walk(ast.parse("".join(cell["source"]))):
            if isinstance(node, ast.ImportFrom) and node.module == "skd_lab.course":
                assert {alias.name for alias in node.names} <= set(skd_lab.course.__all__)
            elif isinstance(node, ast.ImportFrom) and node.module == "skd_lab":
                assert {alias.name for alias in node.names} <= set(PACKAGES)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                assert "skd_lab." not in ast.unparse(node), ast.unparse(node)
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "skd":
                assert node.attr in skd_lab.__all__
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in PACKAGES:
                room = f"skd_lab.{ast.unparse(node.value)}"
                if room == "skd_lab.family" and importlib.util.find_spec(room) is None:
                    pytest.skip("the related systems, which may be left out, are not there")
                front = importlib.import_module(room)
                assert node.attr in getattr(front, "__all__", vars(front)), ast.unparse(node)


@pytest.mark.parametrize("path", NOTEBOOKS, **BY_NAME)
def test_its_tags_are_ones_that_nbval_knows(path):
    for cell in cells_of(path):
        assert set(cell["metadata"].get("tags", [])) <= TAGS, cell["metadata"]
        for word in re.findall(r"nbval[\w-]*", "".join(cell["source"]), re.I):
            assert word in {"NBVAL_IGNORE_OUTPUT", "NBVAL_CHECK_OUTPUT"}, word


@pytest.mark.parametrize("path", NOTEBOOKS, **BY_NAME)
def test_its_shape_is_that_of_the_course(path):
    """A question first, a picture early, exercises, and a recap with sources at the end."""
    cells = cells_of(path)
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    assert texts[0].count("?") >= 1 and "minutes" in texts[0], "question and time at the top"
    assert len(cells) <= 60
    assert len(" ".join(texts).split()) <= 2500
    for cell in code_cells(path)[1:]:
        assert len("".join(cell["source"]).splitlines()) <= 45
    for part in ("## Recap", "## Sources"):
        assert re.search(f"^{part}$", "\n".join(texts), re.M), part
    pictures = [number for number, cell in enumerate(code_cells(path)) if _has_picture(cell)]
    assert pictures and pictures[0] <= 3, "a picture within the first cells"


def _has_picture(cell):
    return any({"text/html", "image/png"} & set(o.get("data", {})) for o in cell["outputs"])


@pytest.mark.parametrize("path", TEXTS, **BY_NAME)
def test_its_links_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        assert not target.startswith("http:"), target
        name, _, anchor = target.partition("#")
        # a source's links are those of the notebook made from it, one folder up
        at = (FOLDER / name).resolve() if name else path
        assert at.exists(), f"{path.name}: {target}"
        if anchor:
            assert anchor in _anchors(at), f"{path.name}: {target}"


def _anchors(path):
    heads = re.findall(r"^(?:# )?#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_the_words_are_spelt_right():
    found = subprocess.run(
        [sys.executable, "-m", "codespell_lib", "--ignore-words-list", "fo,te,nd,hist",
         *map(str, TEXTS), *map(str, (ROOT / "docs").glob("*.md")), str(ROOT / "README.md")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert found.returncode == 0, found.stdout


def test_the_index_has_every_notebook_with_its_question_and_time(build):
    index = (FOLDER / "README.md").read_text(encoding="utf-8").partition("<!-- end -->")[0]
    times = json.loads(build.TIMES.read_text(encoding="utf-8"))
    assert set(times) == {path.stem for path in NOTEBOOKS}
    assert sum(times.values()) < 15 * 60
    for path in NOTEBOOKS:
        assert times[path.stem] < 90, path.name
        [row] = [line for line in index.splitlines() if f"]({path.name})" in line]
        assert "?" in row and f"{times[path.stem]} s" in row, row
