"""skd-lab view and skd-lab app, as typed."""

import json
import re
import socket

import pytest
from fake_runs import write_demo

from skd_lab.cli import main
from skd_lab.records import read_traces


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return write_demo(tmp_path_factory.mktemp("runs"))


def test_a_run_becomes_a_report_in_its_folder(demo, capsys):
    assert main(["view", str(demo)]) == 0
    assert str(demo / "report.html") in capsys.readouterr().out
    page = (demo / "report.html").read_text(encoding="utf-8")
    assert "Held-out scores" in page and page.count("<svg") == 2


def test_a_trace_file_becomes_a_page_beside_it(demo, capsys):
    assert main(["view", str(demo / "traces.ndjson"), "--title", "A <b>"]) == 0
    page = (demo / "traces.html").read_text(encoding="utf-8")
    assert "<title>A &lt;b&gt;</title>" in page and "data-skd-strip" in page


def test_json_holds_the_counts(demo, tmp_path, capsys):
    page = tmp_path / "a.html"
    assert main(["view", str(demo), "-o", str(page), "--json"]) == 0
    traces = read_traces(demo / "traces.ndjson")
    assert json.loads(capsys.readouterr().out) == {
        "page": str(page),
        "traces": len(traces),
        "accepted": sum(trace.accepted for trace in traces),
        "replaced": sum(trace.replaced for trace in traces),
        "discarded": sum(trace.discarded for trace in traces),
    }
    assert page.exists()


def test_text_prints_and_writes_nothing(demo, capsys, tmp_path):
    (tmp_path / "t.ndjson").write_bytes((demo / "traces.ndjson").read_bytes())
    assert main(["view", str(tmp_path / "t.ndjson"), "--text"]) == 0
    said = capsys.readouterr().out
    assert said.count("[-") == sum(trace.replaced for trace in read_traces(tmp_path / "t.ndjson"))
    assert [path.name for path in tmp_path.iterdir()] == ["t.ndjson"]


def test_several_runs_make_one_report(demo, tmp_path):
    page = tmp_path / "all.html"
    assert main(["view", str(demo), str(demo.parent / "demo-on_policy_kd"), "-o", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "Settings of demo-on_policy_kd" in text and "Settings of demo-supervised_kd" not in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["view", "{demo}/none"], "Cannot read .*none"),
        (["view", "{demo}/..", "-o", "x.html"], "not a run folder"),
        (["view", "{demo}", "{demo}/traces.ndjson"], "is no run folder"),
        (["view", "{demo}/config.json"], "config.json, line 1"),
        (["view", "{demo}-on_policy_kd", "--text"], "holds no trace"),
        (["app", "--run", "{demo}/none"], "No run folder"),
    ],
)
def test_what_cannot_be_viewed_is_one_paragraph_and_exit_code_2(demo, words, message, capsys):
    assert main([word.format(demo=demo) for word in words]) == 2
    said = capsys.readouterr()
    assert said.out == "" and "Traceback" not in said.err
    assert re.search(message, " ".join(said.err.split()))


def test_a_port_in_use_is_said(demo, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["app", "--runs-dir", str(demo.parent), "--port", str(port)]) == 1
    assert f"Cannot listen on 127.0.0.1, port {port}" in " ".join(capsys.readouterr().err.split())
