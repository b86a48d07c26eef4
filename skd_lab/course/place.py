"""Where the notebooks live on the net, and how they get at skd_lab where it is not installed."""

REPOSITORY = ""
"""Address of the public repository, such as https://github.com/NAME/skd_lab. While it is empty
there are no Colab badges, and a notebook without the package asks for a wheel."""

_SETUP = """# Finds skd_lab; installs it where it is missing (as on Colab).
import importlib.util

if importlib.util.find_spec("skd_lab") is None:
    import glob
    import subprocess
    import sys

    wheels = sorted(glob.glob("skd_lab-*.whl"))
    {source}
    if not wheels:
        raise SystemExit(
            "skd_lab is not installed here. Put its wheel beside this notebook (on Colab: upload "
            "it), and run this cell again. 'pip wheel --no-deps .' in skd_lab's folder makes it."
        )
    # what is there already, such as torch, stays in its place if its version will do
    print("installing skd_lab and what it needs: some minutes")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", wheels[-1]]
    done = subprocess.run(pip, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(
            "skd_lab could not be installed. Is there a network? What it needs comes from there. "
            "Run this cell again when it is back. pip says:\\n" + done.stderr[-1000:]
        )

from skd_lab import course

course.describe_machine()"""


def setup_cell() -> str:
    """The source of the notebooks' first code cell."""
    if REPOSITORY:
        return _SETUP.format(source=f'wheels = wheels or ["git+{REPOSITORY}"]')
    return _SETUP.replace("    {source}\n", "")


def badge(notebook: str) -> str:
    """Markdown that opens a notebook in Colab.

    Args:
        notebook: file name without its ending.
    """
    place = REPOSITORY.removeprefix("https://github.com/")
    image = "https://colab.research.google.com/assets/colab-badge.svg"
    at = f"https://colab.research.google.com/github/{place}/blob/main/notebooks/{notebook}.ipynb"
    return f"[![Open in Colab]({image})]({at})"
