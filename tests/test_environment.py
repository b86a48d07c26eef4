"""environment.json: what did a run, session by session."""

import json
import sys
from importlib.metadata import version

import pytest
import torch

from skd_lab import environment
from skd_lab.environment import add_session, describe_session, read_sessions

CPU = torch.device("cpu")


def test_a_session_names_the_software_the_device_and_the_command(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/lib/skd_lab/__main__.py", "train", "--steps", "3"])
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    session = describe_session(7, CPU)
    assert session["from_step"] == 7
    assert session["python"] == "{}.{}.{}".format(*sys.version_info)
    for key, package in (("torch", "torch"), ("skd_lab", "skd-lab")):
        assert session[key] == version(package)
    assert session["device"] == "cpu" and session["threads"] == torch.get_num_threads()
    assert session["command"] == ["skd-lab", "train", "--steps", "3"]
    assert json.loads(json.dumps(session)) == session


def test_sessions_of_a_resumed_run_stand_behind_each_other_and_a_new_run_starts_anew(tmp_path):
    first, second = describe_session(0, CPU), describe_session(40, CPU)
    add_session(tmp_path, first, resumed=False)
    add_session(tmp_path, second, resumed=True)
    assert read_sessions(tmp_path) == [first, second]
    add_session(tmp_path, second, resumed=False)
    assert read_sessions(tmp_path) == [second]


@pytest.mark.parametrize("text", ["{", "[1]", '{"sessions": 3}'])
def test_a_damaged_file_does_not_stop_a_run(text, tmp_path):
    (tmp_path / environment.NAME).write_text(text)
    session = describe_session(3, CPU)
    add_session(tmp_path, session, resumed=True)
    assert read_sessions(tmp_path) == [session]
    assert read_sessions(tmp_path / "nowhere") == []


def test_the_commit_is_that_of_the_package_or_none(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "environment.py"))
    assert describe_session(0, CPU)["commit"] is None  # no repository
    monkeypatch.setenv("PATH", str(tmp_path))
    assert describe_session(0, CPU)["commit"] is None  # no git
    assert environment._version("no-such-package-at-all") is None
