"""docs/visualizer_features.md: what is said to be there names a test that is there."""

import re
from pathlib import Path

from skd_lab.views import strip_body

ROOT = Path(__file__).parent.parent
ROWS = re.findall(
    r"^\| ([^|]+) \| (yes|no|to fill) \| [^|]+ \| ?(?:`(\w+)`)? ?\|$",
    (ROOT / "docs/visualizer_features.md").read_text(encoding="utf-8"),
    re.M,
)


def test_forty_features_are_listed_and_at_least_thirty_six_are_there():
    assert len(ROWS) == 40
    assert sum(here == "yes" for _, here, _ in ROWS) >= 36


def test_every_feature_names_a_test_that_exists():
    tests = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("tests/test_*.py"))
    missing = [name for name, here, test in ROWS if here == "yes" and f"def {test}(" not in tests]
    assert missing == []


def test_the_documented_props_and_events_are_the_renderers():
    text = (ROOT / "docs/strip.md").read_text(encoding="utf-8")
    props, events = (re.findall(r"^\| (`.*?) \|", part, re.M) for part in text.split("| event |"))
    body = strip_body()
    for name in re.findall(r"`(\w+)`", " ".join(props)):
        assert f"props.{name}" in body or f'"{name}"' in body, name
    sent = set(re.findall(r'emit\("(\w+)"', body))
    assert set(re.findall(r"`(\w+)`", " ".join(events))) == sent
