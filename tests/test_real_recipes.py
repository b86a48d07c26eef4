"""Recipes for published models: each loads, is a whole configuration, and says what it needs."""

import argparse
import importlib
import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from benchmarks.real_shapes import PARAMETERS, SHAPES, write_config
from skd_lab.cli import main
from skd_lab.cli.flags import read_config
from skd_lab.cli.frame import build_parser
from skd_lab.config import RunConfig
from skd_lab.errors import DataError, UsageError
from skd_lab.methods import get_method
from skd_lab.real_recipes import FOLDER, load_recipe, recipe_names
from skd_lab.tasks import get_task

RECIPES = recipe_names()


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_has_the_published_number_of_parameters(name, tmp_path):
    config = AutoConfig.from_pretrained(write_config(tmp_path, name))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]


def test_there_is_a_recipe_for_every_size_of_machine():
    assert RECIPES == [
        *("h100-gemma2", "h100-qwen2.5", "l4-gemma3", "l4-qwen3", "node8-gemma2", "t4-qwen2.5")
    ]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_a_whole_configuration(name):
    recipe = load_recipe(name)
    config = RunConfig(**recipe.config)
    assert {config.student, config.teacher} <= set(SHAPES)
    assert PARAMETERS[config.student] < PARAMETERS[config.teacher]
    get_method(config.method)
    assert get_task(config.task).name == config.task
    assert config.batch_size % (recipe.processes * config.microbatch_size) == 0
    assert config.run_dir == f"runs/{name}"
    assert recipe.about and recipe.hardware and recipe.memory_is in ("estimated", "measured")
    assert recipe.memory_gib > 0


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_states_what_its_card_can_do(name):
    recipe = load_recipe(name)
    config = RunConfig(**recipe.config)
    size = {"t4": 15, "l4": 22, "h1": 79, "no": 79}[name[:2]]  # GiB that such a card really has
    assert recipe.memory_gib < size
    # bfloat16 is for cards since Ampere; float16 cannot hold Gemma's activations
    assert config.mixed_precision == ("fp16" if name.startswith("t4") else "bf16")
    assert "float16" != config.teacher_dtype or "Qwen" in config.teacher
    said = recipe.command.split()
    assert said[-2:] == ["--recipe", name] and ("torchrun" in said) == (recipe.processes > 1)


def test_a_recipe_that_is_not_there_is_refused_with_the_list(capsys):
    with pytest.raises(UsageError, match="no recipe 'h100'.*l4-qwen3"):
        load_recipe("h100")
    assert main(["train", "--recipe", "h100"]) == 2
    assert "Choose one of" in capsys.readouterr().err


def test_a_recipe_and_a_config_are_two_starts(capsys):
    assert main(["train", "--recipe", "l4-qwen3", "--config", "x.yaml"]) == 2
    assert "not allowed with" in capsys.readouterr().err


def trained(monkeypatch, *flags):
    """The configuration that `skd-lab train` would run."""
    seen = []

    def stop(config, **others):
        seen.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module("skd_lab.train"), "train", stop)
    main(["train", *flags])
    return seen[0]


def test_flags_win_over_a_recipe(monkeypatch):
    config = trained(monkeypatch, "--recipe", "l4-qwen3", "--steps", "70", "--method", "gkd")
    wanted = RunConfig(**load_recipe("l4-qwen3").config)
    assert config == wanted.replace(steps=70, method="gkd")


def test_a_copied_recipe_is_a_config_file(monkeypatch, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text((FOLDER / "t4-qwen2.5.yaml").read_text().replace("steps: 300", "steps: 30"))
    config = trained(monkeypatch, "--config", str(path))
    assert config == RunConfig(**load_recipe("t4-qwen2.5").config).replace(steps=30)


def test_a_plain_list_of_settings_is_one_too_and_1e5_is_a_number(tmp_path):
    path = tmp_path / "mine.yml"
    path.write_text("pair: tiny-qwen3\nlearning_rate: 1e-5\naccept_top_k: updates:1..25\n")
    values = read_config(path)
    assert values == {
        "pair": "tiny-qwen3",
        "learning_rate": 1e-5,
        "accept_top_k": "updates:1..25",
    }
    path.write_text("pair: tiny-qwen3\nlearning_rate: much\n")
    with pytest.raises(UsageError, match="--learning-rate must be a number, got much"):
        RunConfig(**read_config(path))


@pytest.mark.parametrize(
    "text, said",
    [
        ("a: [1\n", "no YAML.*line"),
        ("- a\n- b\n", "no settings by name"),
        ("", "no settings by name"),
    ],
)
def test_yaml_that_cannot_be_read_names_the_file(tmp_path, text, said):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=f"mine.yaml.*{said}"):
        read_config(path)
    with pytest.raises(DataError, match=r"Cannot read .*gone\.yaml"):
        read_config(tmp_path / "gone.yaml")


def test_a_runs_own_config_is_still_read(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"pair": "tiny-qwen3"}))
    assert read_config(path) == {"pair": "tiny-qwen3"}


PAGE = (Path(__file__).parent.parent / "docs" / "real_models.md").read_text(encoding="utf-8")


def test_the_page_lists_the_recipes_as_they_are():
    rows = re.findall(r"^\| `([\w.-]+)` \| (.*?) \| (.*?) \| ([\d.]+) \| (\w+) \|$", PAGE, re.M)
    wanted = [load_recipe(name) for name in RECIPES]
    assert rows == [
        (one.name, one.about, one.hardware, f"{one.memory_gib:.1f}", one.memory_is)
        for one in wanted
    ]


def test_the_pages_commands_are_commands():
    lines = [
        line
        for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S)
        for line in block.splitlines()
    ]
    asked = [line.split("skd-lab ")[1] for line in lines if line.startswith("skd-lab ")]
    asked += [line.split("-m skd_lab ")[1] for line in lines if "-m skd_lab " in line]
    assert len(asked) >= 5
    for line in asked:
        args = build_parser().parse_args(shlex.split(line))
        if getattr(args, "recipe", None):
            load_recipe(args.recipe)
    flags = set(re.findall(r"`(--[a-z0-9-]+)", PAGE))
    known = {option for option in _options(build_parser())} | GPU_FLAGS
    assert flags <= known, flags - known


GPU_FLAGS = {"--budget", "--stages", "--again", "--size"}  # of benchmarks.gpu_check


def _options(parser):
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from _options(inner)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_fits_its_card_as_the_dry_run_says(name, tmp_path, capsys):
    recipe = load_recipe(name)
    places = [write_config(tmp_path / role, recipe.config[role]) for role in ("student", "teacher")]
    flags = ["--student", str(places[0]), "--teacher", str(places[1]), "--device", "cuda"]
    size = {"t4": "14.6", "l4": "22.0", "h1": "79.0", "no": "79.0"}[name[:2]]
    code = main(["train", "--recipe", name, *flags, "--dry-run", size, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert code == 0 and found["fits"]
    # rounded in the file, and estimates are mended now and then
    assert found["peak"] / 2**30 == pytest.approx(recipe.memory_gib, rel=0.05)
