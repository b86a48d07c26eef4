"""The notebooks where nothing is installed, as on Colab: their first cell, and one from its wheel.

The fresh environment borrows every package of this one but skd_lab, so that pip asks no network.
"""

import json
import os
import shutil
import subprocess
import sys
import textwrap
import venv
from pathlib import Path

import pytest

from skd_lab.course import place

ROOT = Path(__file__).parent.parent
NOWHERE = "http://127.0.0.1:9"  # nothing listens there
NET = {"HTTP_PROXY": NOWHERE, "HTTPS_PROXY": NOWHERE, "PIP_INDEX_URL": NOWHERE}
NET |= {name.lower(): NOWHERE for name in ("HTTP_PROXY", "HTTPS_PROXY")} | {"PIP_RETRIES": "0"}
NO_PACKAGES = "-ISc"  # a kernel's Python without anything installed
COLAB = """
class SecretNotFoundError(Exception): ...
class userdata:
    SecretNotFoundError = NotebookAccessError = TimeoutException = SecretNotFoundError
    def get(name): raise SecretNotFoundError(name)
class output:
    def enable_custom_widget_manager(): raise AssertionError("asks for widgets from elsewhere")
class files:
    def upload(): raise AssertionError("asks for an upload")
"""


def first_cell(folder, *python):
    command = [*(python or (sys.executable, NO_PACKAGES)), place.setup_cell()]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **NET}, capture_output=True, text=True, timeout=200
    )


def test_without_the_package_and_a_wheel_the_first_cell_asks_for_one(tmp_path):
    done = first_cell(tmp_path)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("skd_lab is not installed here. Put its wheel beside this")
    assert "Traceback" not in done.stderr


def test_where_pip_fails_the_first_cell_says_what_pip_said(tmp_path):
    (tmp_path / "skd_lab-0.1.0-py3-none-any.whl").write_bytes(b"half an upload")
    done = first_cell(tmp_path)
    assert done.returncode == 1 and "some minutes" in done.stdout
    said = "skd_lab could not be installed. Is there a network?"
    assert done.stderr.startswith(said) and "Traceback" not in done.stderr
    assert "Wheel 'skd-lab'" in done.stderr and "is invalid" in done.stderr


def test_a_repository_is_installed_from_where_no_wheel_is(tmp_path, monkeypatch):
    monkeypatch.setattr(place, "REPOSITORY", "https://github.com/somebody/skd_lab")
    ran = []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(
        "subprocess.run", lambda command, **_: ran.append(command) or _Done(returncode=0)
    )
    monkeypatch.chdir(tmp_path)
    exec(place.setup_cell(), {})
    (tmp_path / "skd_lab-0.1.0-py3-none-any.whl").touch()
    exec(place.setup_cell(), {})
    assert [command[-1] for command in ran] == [
        "git+https://github.com/somebody/skd_lab",
        "skd_lab-0.1.0-py3-none-any.whl",  # an uploaded one goes first
    ]
    assert ran[0][:4] == [sys.executable, "-m", "pip", "install"]


class _Done:
    def __init__(self, returncode):
        self.returncode = returncode


def test_a_badge_opens_the_notebook_of_the_repository(monkeypatch):
    monkeypatch.setattr(place, "REPOSITORY", "https://github.com/somebody/skd_lab")
    at = "https://colab.research.google.com/github/somebody/skd_lab/blob/main/notebooks/02_x.ipynb"
    assert place.badge("02_x").endswith(f"]({at})")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_notebook_runs_from_its_wheel_with_no_checkout_at_hand(tmp_path):
    folder, python = tmp_path / "content", fresh_environment(tmp_path / "venv")
    folder.mkdir()
    assert "is not installed here" in first_cell(folder, python, "-c").stderr
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*wheel, "-w", folder, copy_of_the_tree(tmp_path / "src")], check=True)
    [notebook] = (ROOT / "notebooks").glob("02_*.ipynb")
    shutil.copy(notebook, folder)
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    run = """
        import sys, nbformat
        from nbclient import NotebookClient
        notebook = nbformat.read(sys.argv[1], 4)
        NotebookClient(notebook, timeout=200, kernel_name="python3").execute()
        nbformat.write(notebook, "run.ipynb")
    """
    environment = {**os.environ, **NET, "JUPYTER_PATH": "", "HOME": str(tmp_path)}
    environment |= {"JUPYTER_DATA_DIR": str(tmp_path / "data"), "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [python, "-c", textwrap.dedent(run), notebook.name],
        cwd=folder, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    outputs = [
        cell.get("outputs", [])
        for cell in json.loads((folder / "run.ipynb").read_text(encoding="utf-8"))["cells"]
    ]
    words = "".join("".join(output.get("text", "")) for each in outputs for output in each)
    assert "installing skd_lab" in words and "skd_lab 0.1.0" in words
    assert [bool(each) for each in outputs] == [bool(cell.get("outputs")) for cell in cells]
    assert str(ROOT) not in words


def copy_of_the_tree(at):
    """What a wheel is made of; pip writes beside it."""
    at.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, at)
    shutil.copytree(ROOT / "skd_lab", at / "skd_lab", ignore=shutil.ignore_patterns("__pycache__"))
    return at


def fresh_environment(at):
    """Python of a new environment that has this one's packages and no skd_lab, and is Colab."""
    venv.create(at, symlinks=os.name != "nt", with_pip=False)
    python = at / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    asked = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    own = Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())
    for package in Path(pytest.__file__).parent.parent.iterdir():
        if not package.name.startswith(("skd_lab", "__editable__")):
            (own / package.name).symlink_to(package)
    google = own / "google"
    if google.is_symlink():  # others live there too
        others = list(google.iterdir())
        google.unlink()
        google.mkdir()
        for other in others:
            (google / other.name).symlink_to(other.resolve())
    (google / "colab").mkdir(parents=True)
    (google / "colab" / "__init__.py").write_text(COLAB)
    return python
