"""Makes the notebooks: source/NN_name.py (jupytext, percent format) -> NN_name.ipynb, with outputs.

    python notebooks/build.py               all of them (make notebooks)
    python notebooks/build.py 02 05         these
    python notebooks/build.py --check       says what is stale, runs nothing

The .py file is what one edits. A cell that is `# SETUP` becomes the cell that finds or installs
skd_lab; exercises' solutions go to solutions/, from the functions the checks compare with. Every
notebook is run from the top by a fresh kernel, in the folder of the notebooks, without network.
"""

import argparse
import inspect
import json
import os
import re
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient

from skd_lab.course.checking import CHAPTERS
from skd_lab.course.committed import RECORDS
from skd_lab.course.exercises import EXERCISES, Exercise
from skd_lab.course.place import REPOSITORY, badge, setup_cell

HERE = Path(__file__).parent
TIMES = HERE / "times.json"
# nothing of the machine, and nothing that a reader's own front end has to fetch or may not show
DROPPED = "application/vnd.jupyter.widget-view+json"
SECONDS_A_CELL = 120


def sources() -> list[Path]:
    """The percent files, in order."""
    return sorted((HERE / "source").glob("[0-9]*.py"))


def read_source(path: Path) -> Any:
    """A notebook without outputs; cell ids are numbers in order, so that a diff is short."""
    notebook = jupytext.read(path, fmt="py:percent")
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:02d}"
        if cell.cell_type == "code" and cell.source.strip() == "# SETUP":
            cell.source = setup_cell()
            cell.metadata["tags"] = ["nbval-ignore-output"]
    if REPOSITORY and notebook.cells:
        first = notebook.cells[0]
        first.source = f"{badge(path.stem)}\n\n{first.source}"
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook


def run(notebook: Any) -> float:
    """Execute from the top; seconds, the kernel's start included."""
    quiet = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "SKD_FAST": "1"}
    os.environ.update(quiet | {"GRADIO_ANALYTICS_ENABLED": "False", "TOKENIZERS_PARALLELISM": "0"})
    os.environ.pop("SKD_CHECK", None)
    began = time.perf_counter()
    client = NotebookClient(
        notebook, timeout=SECONDS_A_CELL, resources={"metadata": {"path": str(HERE)}}
    )
    client.execute()
    return time.perf_counter() - began


def tidy(notebook: Any) -> Any:
    """Only what a reader sees stays: no widget state, no times, no bars, no warnings."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        kept = []
        for output in cell.outputs:
            if output.get("name") == "stderr":
                continue
            if "data" in output:
                if set(output.data) == {DROPPED, "text/plain"}:  # a progress bar
                    continue
                output.metadata = {}
                if len(output.data) > 2:  # a still picture stands beside the widget
                    output.data.pop(DROPPED, None)
            kept.append(output)
        cell.outputs = kept
    return notebook


def solutions(chapter: str) -> str:
    """The chapter's solutions as one Python file, from the functions that the checks use."""
    lines = [
        f'"""Solutions of notebook {chapter}. Made by `make notebooks`; do not edit."""\n',
        "from __future__ import annotations\n",
    ]
    room = next((room for room in CHAPTERS if room.__name__.endswith(f"_{chapter}")), None)
    if room is not None:
        imports = re.findall(
            r"^(?:from|import) (?!skd_lab\.course\.exercises).+$", _source(room), re.M
        )
        lines.append("\n".join([*imports, *[""] * bool(imports), "from skd_lab import course", ""]))
    for number, exercise in EXERCISES.items():
        if number.startswith(chapter):
            lines.append(_solution(number, exercise))
    return "\n".join(lines)


def _solution(number: str, exercise: Exercise) -> str:
    head = f"\n# {number}: {exercise.asks}\n"
    if not callable(exercise.answer):
        value = exercise.answer
        written = json.dumps(value) if isinstance(value, str) else repr(value)
        return f'{head}course.check("{number}", {written})\n'
    name = exercise.answer.__name__
    return f'{head}{inspect.getsource(exercise.answer)}\n\ncourse.check("{number}", {name})\n'


def _source(room: Any) -> str:
    return Path(room.__file__).read_text(encoding="utf-8")


def stale() -> list[str]:
    """Which committed files are not what the sources would give, in words."""
    found = []
    for path in sources():
        made = HERE / f"{path.stem}.ipynb"
        wanted = [(cell.cell_type, cell.source) for cell in read_source(path).cells]
        if not made.exists():
            found.append(f"{made.name} is missing")
            continue
        there = [(cell.cell_type, cell.source) for cell in nbformat.read(made, 4).cells]
        if there != wanted:
            found.append(f"{made.name} is not what source/{path.name} says")
    for chapter in chapters_with_exercises():
        at = HERE / "solutions" / f"{chapter}.py"
        if not at.exists() or at.read_text(encoding="utf-8") != solutions(chapter):
            found.append(f"solutions/{at.name} is not what the exercises say")
    return found


def index(times: dict[str, int]) -> str:
    """The table of the notebooks: title, question, a reader's minutes, seconds to run."""
    lines = ["| notebook | question | to read and do | runs in |", "|---|---|---|---|"]
    for path in sources():
        head = read_source(path).cells[0].source
        title = re.search(r"^# (.+)$", head, re.M)
        question = re.search(r"^\*\*(.+\?)\*\*", head, re.M | re.S)
        minutes = re.search(r"(\d+) minutes", head)
        if title is None or question is None or minutes is None:
            raise SystemExit(
                f"{path.name}: the first cell needs '# title', '**question?**' and 'NN minutes'."
            )
        asked = " ".join(question[1].split())
        link = f"[{title[1]}]({path.stem}.ipynb)"
        lines.append(f"| {link} | {asked} | {minutes[1]} minutes | {times[path.stem]} s |")
    return "\n".join([*lines, ""])


def write_index(times: dict[str, int]) -> None:
    """Put the table between its marks in README.md."""
    at = HERE / "README.md"
    text = at.read_text(encoding="utf-8")
    begin, end = "<!-- begin: make notebooks -->\n", "<!-- end -->"
    before, _, rest = text.partition(begin)
    at.write_text(before + begin + index(times) + end + rest.partition(end)[2], encoding="utf-8")


def copy_records() -> None:
    """The rows of every results/NAME into the package, where notebooks 07 to 09 read them."""
    for old in RECORDS.glob("*.jsonl"):
        old.unlink()
    RECORDS.mkdir(exist_ok=True)
    for path in sorted(HERE.parent.glob("results/*/results.jsonl")):
        shutil.copyfile(path, RECORDS / f"{path.parent.name}.jsonl")


def chapters_with_exercises() -> list[str]:
    """Such as ["00", "02"]."""
    return sorted({number[:2] for number in EXERCISES})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("numbers", nargs="*", help="such as 02; all if left out")
    parser.add_argument("--check", action="store_true", help="only say what is stale")
    asked = parser.parse_args()
    if asked.check:
        found = stale()
        print("\n".join(found) or "Everything is up to date.")
        sys.exit(bool(found))
    copy_records()
    times = json.loads(TIMES.read_text(encoding="utf-8")) if TIMES.exists() else {}
    for path in sources():
        if asked.numbers and path.name[:2] not in asked.numbers:
            continue
        notebook = read_source(path)
        times[path.stem] = round(run(notebook))
        nbformat.write(tidy(notebook), HERE / f"{path.stem}.ipynb")
        print(f"{path.stem}: {times[path.stem]} s", flush=True)
        TIMES.write_text(json.dumps(times, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    for chapter in chapters_with_exercises():
        at = HERE / "solutions" / f"{chapter}.py"
        at.write_text(solutions(chapter), encoding="utf-8")
    if set(times) == {path.stem for path in sources()}:
        write_index(times)


if __name__ == "__main__":
    main()
