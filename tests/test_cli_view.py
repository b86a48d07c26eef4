"""skd-lab view and skd-lab app, as typed."""

import json
import os
import re
import shutil
import socket

import pytest
from fake_runs import STEPS, write_demo

from skd_lab.cli import main
from skd_lab.files import write_json_atomic
from skd_lab.records import read_traces


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return write_demo(tmp_path_factory.mktemp("runs"))


def test_a_run_becomes_a_report_in_its_folder(demo, capsys):
    assert main(["view", str(demo)]) == 0
    assert str(demo / "report.html") in capsys.readouterr().out
    page = (demo / "report.html").read_text(encoding="utf-8")
    assert "Held-out scores" in page and page.count('<figure class="panel') == 2


def test_a_trace_file_becomes_a_page_beside_it(demo, capsys):
    assert main(["view", str(demo / "traces.ndjson"), "--title", "A <b>"]) == 0
    page = (demo / "traces.html").read_text(encoding="utf-8")
    assert "<title>A &lt;b&gt;</title>" in page and "data-skd-strip" in page


def test_a_page_that_holds_strips_is_read_and_stays(demo, tmp_path, capsys):
    page = tmp_path / "a.html"
    assert main(["view", str(demo / "traces.ndjson"), "-o", str(page)]) == 0
    before = page.read_bytes()
    capsys.readouterr()
    assert main(["view", str(page), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["page"] == str(tmp_path / "a-strip.html")
    assert said["traces"] == len(read_traces(demo / "traces.ndjson"))
    assert page.read_bytes() == before


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


def test_a_folder_of_runs_becomes_a_list_and_a_report_of_each(demo, tmp_path, capsys):
    root = tmp_path / "runs"
    shutil.copytree(demo.parent, root, ignore=shutil.ignore_patterns("*.html"))
    names = sorted(path.name for path in root.iterdir())
    assert main(["view", str(root)]) == 0
    assert f"Wrote {root / 'index.html'} and report.html of 3 runs" in capsys.readouterr().out
    page = (root / "index.html").read_text(encoding="utf-8")
    links = re.findall('href="(.*?)"', page)
    assert links == [f"{name}/report.html" for name in names]
    assert all("<h1>" in (root / link).read_text(encoding="utf-8") for link in links)
    # again: only the run that went on in between
    later = (root / links[0]).stat().st_mtime + 5
    os.utime(root / names[1] / "steps.jsonl", (later, later))
    assert main(["view", str(root)]) == 0
    said = capsys.readouterr().out
    assert "report.html of 1 run (2 had one as young as its records)" in said


def test_json_of_a_folder_of_runs_is_its_table(demo, tmp_path, capsys):
    page = tmp_path / "list.html"
    assert main(["view", str(demo.parent), "-o", str(page), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["page"] == str(page) and page.exists()
    assert [run["name"] for run in said["runs"]] == [
        "demo",
        "demo-on_policy_kd",
        "demo-supervised_kd",
    ]
    assert said["runs"][1]["replaced_first"] is None and said["runs"][0]["value"] == 0.6


def test_the_good_part_of_a_damaged_file_is_shown_and_the_damage_said(demo, tmp_path, capsys):
    lines = (demo / "traces.ndjson").read_text(encoding="utf-8").split("\n")
    whole = len(read_traces(demo / "traces.ndjson"))
    lines[4] = lines[4][:50]
    path = tmp_path / "t.ndjson"
    path.write_text("\n".join(lines), encoding="utf-8")
    assert main(["view", str(path), "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["traces"] == whole
    assert "t.ndjson, line 5: not a trace record" in said.err and "Traceback" not in said.err
    page = (tmp_path / "t.html").read_text(encoding="utf-8")
    assert "data-skd-strip" in page


def test_a_damaged_run_has_its_page_and_the_damage_is_said(demo, tmp_path, capsys):
    shutil.copytree(demo, tmp_path / "hurt")
    for name in ("config.json", "steps.jsonl", "traces.ndjson", "eval.jsonl", "table.json"):
        with (tmp_path / "hurt" / name).open("a", encoding="utf-8") as file:
            file.write("{broken\n")
    assert main(["view", str(tmp_path / "hurt")]) == 0
    said = capsys.readouterr().err
    for name in ("config.json", "steps.jsonl", "traces.ndjson", "eval.jsonl", "table.json"):
        assert f"{tmp_path / 'hurt' / name}" in said
    page = (tmp_path / "hurt" / "report.html").read_text(encoding="utf-8")
    assert page.count('role="note"') == 5 and f"<dd>{STEPS}</dd>" in page


def test_a_page_that_cannot_be_written_is_said(demo, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert main(["view", str(demo), "-o", str(tmp_path / "file" / "page.html")]) == 1
    said = capsys.readouterr()
    assert "Cannot write" in said.err and "Traceback" not in said.err and said.out == ""
    assert main(["view", str(demo), "-o", str(tmp_path)]) == 2
    assert "is a folder. Give -o a file" in " ".join(capsys.readouterr().err.split())


def test_a_run_without_any_record_but_its_settings_has_a_page(tmp_path, capsys):
    write_json_atomic(tmp_path / "run" / "config.json", {"method": "skd", "steps": 5})
    assert main(["view", str(tmp_path / "run")]) == 0
    assert "No completion is recorded." in (tmp_path / "run" / "report.html").read_text()
    assert main(["view", str(tmp_path / "run"), "--text"]) == 2
    assert "holds no trace" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["view", "{demo}/none"], "Cannot read .*none"),
        (["view", "{demo}/none.ndjson"], "Cannot read .*none.ndjson: No such file"),
        (["view", "{empty}"], "not a run folder: it holds none of .* Give the folder a run"),
        (["view", "{empty}", "{demo}"], "not a run folder"),
        (["view", "{demo}", "{demo}/traces.ndjson"], "is no run folder"),
        (["view", "{demo}/config.json"], "config.json, line 1"),
        (["view", "{demo}-on_policy_kd", "--text"], "holds no trace"),
        (["app", "--run", "{demo}/none"], "No run folder"),
    ],
)
def test_what_cannot_be_viewed_is_one_paragraph_and_exit_code_2(
    demo, tmp_path, words, message, capsys
):
    assert main([word.format(demo=demo, empty=tmp_path) for word in words]) == 2
    said = capsys.readouterr()
    assert said.out == "" and "Traceback" not in said.err
    assert re.search(message, " ".join(said.err.split()))
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_is_said(demo, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["app", "--runs-dir", str(demo.parent), "--port", str(port)]) == 1
    assert f"Cannot listen on 127.0.0.1, port {port}" in " ".join(capsys.readouterr().err.split())
