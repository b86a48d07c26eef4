"""README.md says what is there: its example runs, its table, tree, links and commands are true."""

import re
import runpy
import shlex
import subprocess
from pathlib import Path

import pytest

from skd_lab.cli.flags import config_from
from skd_lab.cli.frame import build_parser
from skd_lab.methods import CORE_METHODS, METHODS
from skd_lab.objectives import DIVERGENCES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.M | re.S)
    return [text for name, text in fenced if name == language]


def section(title: str) -> str:
    return README.split(f"## {title}\n")[1].split("\n## ")[0]


def tracked() -> set[str]:
    asked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if asked.returncode:
        pytest.skip("not a git checkout")
    return set(asked.stdout.split("\n")) - {""}


def test_the_example_runs(capsys):
    example = blocks("python")[0]
    exec(compile(example, "README.md", "exec"), {"__name__": "__main__"})
    lines = capsys.readouterr().out.splitlines()
    counts = [re.fullmatch(r"(\d+) of (\d+) tokens are the teacher's", line) for line in lines]
    found = [(int(count[1]), int(count[2])) for count in counts if count]
    assert len(found) == 2
    assert all(0 <= replaced <= tokens <= 64 and tokens > 0 for replaced, tokens in found)


def test_the_recipe_for_trl_users_runs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("trl", reason="trl is not installed")
    monkeypatch.chdir(tmp_path)
    [recipe] = [text for text in blocks("python") if "import trl" in text]
    names = {"__name__": "__main__"}
    exec(compile(recipe, "README.md", "exec"), names)
    trainer, strips = names["trainer"], names["trainer"].strips
    assert trainer.state.global_step == 1 and trainer.state.log_history[-1]["train_loss"] > 0
    tokens = [token for strip in strips for token in strip.tokens]
    assert len(strips) == 4 and len(tokens) == trainer.state.num_input_tokens_seen - sum(
        len(strip.header["prompt_ids"]) for strip in strips
    )
    # Algorithm 1: what stood was in the teacher's top 3, what was replaced was not
    assert all((token["teacher_rank"] <= 3) == (token["source"] == "student") for token in tokens)
    page = (tmp_path / "runs" / "trl" / "strip.html").read_text(encoding="utf-8")
    assert "data-skd-strip" in page


def test_the_methods_are_the_table_of_methods():
    rows = [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        for line in section("Methods").splitlines()
        if line.startswith("| `")
    ]
    said = {
        name: (
            DIVERGENCES if objectives == "any divergence" else tuple(re.split("`, `", objectives)),
            source,
        )
        for name, _, objectives, source in rows
    }
    any_divergence = re.search(r"^Any divergence: (.*?)\.", section("Methods"), re.M | re.S)
    assert tuple(re.findall(r"`(\w+)`", any_divergence[1])) == DIVERGENCES
    there = {name: (METHODS[name].objectives, METHODS[name].source) for name in CORE_METHODS}
    assert said == there


def test_the_tree_is_the_real_one():
    said, folder = set(), ""
    for line in blocks("")[-1].splitlines():
        name = line.split()[0]
        assert len(line.split()) > 1, f"say what {name} is"
        said.add(name if not line.startswith(" ") else folder + name)
        if not line.startswith(" "):
            folder = name
    if not (ROOT / "skd_lab/family").is_dir():  # related systems, which may be left out whole
        said.discard("skd_lab/family/")
    files = tracked()
    there = {
        head + slash
        for head, slash, _ in (path.partition("/") for path in files)
        if head != ".gitignore"
    }
    there |= {
        "skd_lab/" + head + slash
        for head, slash, _ in (
            path.removeprefix("skd_lab/").partition("/")
            for path in files
            if path.startswith("skd_lab/")
        )
        if head != "py.typed"
    }
    assert said == there


def test_links_lead_somewhere():
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert "docs/img/strip.png" in targets
    for target in targets:
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_the_course_shows_figures_that_its_notebooks_have():
    course = section("The course")
    pytest.importorskip("playwright", reason="playwright is not installed")
    pictures = runpy.run_path(str(ROOT / "docs" / "make_course_pictures.py"))
    for notebook, says in pictures["FIGURES"].items():
        assert "<" in pictures["stored"](notebook, says)
        [path] = (ROOT / "notebooks").glob(f"{notebook}_*.ipynb")
        assert f"(notebooks/{path.name})" in course
        assert f"(docs/img/course-{notebook}.png)" in course


def test_command_lines_are_understood():
    lines = [
        line
        for block in blocks("sh") + blocks("")
        for line in block.splitlines()
        if line.startswith("skd-lab ")
    ]
    assert len(lines) > 5
    for line in lines:
        arguments = shlex.split(line, comments=True)[1:]
        args = build_parser().parse_args(arguments)
        assert args.run.__module__ == f"skd_lab.cli.{arguments[0]}"
        if arguments[0] in ("train", "rollout"):
            config_from(args)  # refuses values that cannot be


def test_make_targets_are_in_the_makefile():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"^make (\w+)", README, re.M))
    assert {"demo", "test"} <= named <= targets
