"""Settings of the whole suite: one thread, no network, shapes checked. Models: tests/tiny.py."""

import logging
import os
import signal
from pathlib import Path

# set before anything imports the hub's client or a thread pool; child processes inherit them
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    TRANSFORMERS_VERBOSITY="error",
    TOKENIZERS_PARALLELISM="false",
    GRADIO_ANALYTICS_ENABLED="False",
    OMP_NUM_THREADS="1",
    MPLBACKEND="Agg",
)

import hypothesis  # noqa: E402
import jaxtyping  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)
# a shell gives its background jobs a SIGINT that does nothing, and children inherit it
signal.signal(signal.SIGINT, signal.default_int_handler)
# the same examples in every run, and no stopwatch: other work on the machine is no failure
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True)
hypothesis.settings.load_profile("suite")
# not the app: its functions have no shapes, and gradio must see which of them are generators
ROOMS = {path.stem for path in (Path(__file__).parent.parent / "skd_lab").iterdir()} - {"app"}
jaxtyping.install_import_hook([f"skd_lab.{room}" for room in sorted(ROOMS)], "shapes.check")


@pytest.fixture(autouse=True)
def _library_refuses_for_itself(request: pytest.FixtureRequest):
    """Tests named *refus* pass wrong shapes on purpose: there the library's own words count."""
    off = "refus" in request.node.name
    jaxtyping.config.update("jaxtyping_disable", off)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def _log_as_before():
    """The command line sends skd_lab's log to stderr; other tests look at it in their own way."""
    log = logging.getLogger("skd_lab")
    before = (list(log.handlers), log.level, log.propagate)
    yield
    log.handlers, log.level, log.propagate = before
