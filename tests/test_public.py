"""What `import skd_lab` offers, and that offering it costs nothing."""

import ast
import subprocess
import sys
import types
from pathlib import Path

import skd_lab


def test_every_public_name_is_there_and_is_no_module():
    for name in skd_lab.__all__:
        assert not isinstance(getattr(skd_lab, name), types.ModuleType), name
    assert set(skd_lab.__all__) <= set(dir(skd_lab))


def test_the_type_checker_sees_the_same_names():
    tree = ast.parse(Path(skd_lab.__file__).read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    seen = [alias.asname for node in guarded.body for alias in node.names]
    assert sorted(seen) == skd_lab.__all__


def test_functions_win_over_rooms_of_the_same_name_whatever_is_imported_first():
    code = (
        "import skd_lab.train, skd_lab.evaluate, skd_lab, types;"
        "assert callable(skd_lab.train) and callable(skd_lab.evaluate);"
        "from skd_lab.train import RunResult"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_package_loads_no_torch():
    code = "import sys, skd_lab, skd_lab.config; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_an_attribute_error():
    try:
        skd_lab.no_such_thing  # noqa: B018
    except AttributeError as error:
        assert "no attribute 'no_such_thing'" in str(error)
    else:
        raise AssertionError("an unknown name was found")
