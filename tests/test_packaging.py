"""pyproject.toml, the lock, environment.yml, licence, citation and version say the same."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import skd_lab

try:
    import tomllib
except ImportError:  # Python 3.10
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WANTED = {
    canonicalize_name(Requirement(line).name): Requirement(line)
    for line in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]
}


def locked() -> dict[str, Version]:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pins}


def test_the_set_the_toolkit_is_made_of_is_there():
    fixed = "torch transformers gradio matplotlib ipywidgets jupyter nbval pytest".split()
    assert set(fixed) <= set(WANTED)


def test_the_lock_pins_every_requirement_inside_its_range():
    pins = locked()
    for name, requirement in WANTED.items():
        assert pins[name] in requirement.specifier, f"{requirement} but the lock has {pins[name]}"
    assert pins["torch"] == Version("2.13.0")


def test_the_lock_is_plain():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    for line in text.splitlines():
        assert line.startswith("#") or re.fullmatch(r"[\w.-]+==[\w.]+", line), line
    names = [canonicalize_name(line.split("==")[0]) for line in text.splitlines()[1:]]
    assert names == sorted(set(names))


@pytest.mark.skipif(
    sys.platform != "linux" or sys.version_info[:2] != (3, 11), reason="the lock is made there"
)
def test_what_is_locked_is_what_is_needed():
    # a pin that nothing asks for would stay for ever
    from importlib.metadata import distribution

    needed, queue = set(), list(WANTED.values())
    while queue:
        requirement = queue.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in needed:
            continue
        needed.add(key)
        for line in distribution(requirement.name).requires or []:
            child = Requirement(line)
            extras = [*requirement.extras, ""]
            if not child.marker or any(child.marker.evaluate({"extra": e}) for e in extras):
                queue.append(child)
    # the CUDA build of torch needs packages that the CPU build does not; neither is pinned
    names = {name for name, _ in needed if not re.match(r"nvidia-|cuda-|triton", name)}
    assert set(locked()) == names


def test_the_conda_environment_holds_the_same_set():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python, pip, nested = environment["dependencies"]
    said = [line for line in nested["pip"] if not line.startswith("-e ")]
    assert {str(Requirement(line)) for line in said} == {str(r) for r in WANTED.values()}
    assert pip == "pip" and nested["pip"][-1].startswith("-e .")
    assert python.removeprefix("python=") in Requirement(f"x{PROJECT['requires-python']}").specifier


def test_one_version_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changes = (ROOT / "README.md").read_text(encoding="utf-8").split("## Changes\n")[1]
    [newest] = re.findall(r"^### (\S+)", changes, re.M)[:1]
    assert PROJECT["version"] == citation["version"] == skd_lab.__version__ == newest


def test_one_licence_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert PROJECT["license"] == citation["license"] == "Apache-2.0"
    assert "Apache License" in text and "END OF TERMS AND CONDITIONS" in text


def test_make_installs_the_lock():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "-r requirements.lock" in makefile and "--no-deps -e ." in makefile
    assert re.search(r"^TORCH_INDEX \?=$", makefile, re.M)
    assert (ROOT / ".ci/run").read_text().rstrip().endswith("make test")
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


def test_tracked_files_are_small_and_hold_no_pickle():
    asked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if asked.returncode:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in asked.stdout.splitlines() if (ROOT / name).is_file()]
    assert files
    for path in files:
        assert path.stat().st_size < 50e6, path
        assert path.suffix not in {".pt", ".bin", ".pkl", ".pickle", ".pth", ".ckpt"}, path
    bundled = sum(path.stat().st_size for path in files if "bundled" in path.parts)
    assert bundled < 30e6
