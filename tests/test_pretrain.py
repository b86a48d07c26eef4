"""Pretraining in miniature: every file of a pair, the same weights twice, refusals."""

import hashlib
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from skd_lab.errors import RunExistsError, UsageError
from skd_lab.loading import load_model, load_tokenizer
from skd_lab.models import BUNDLED, load_pair
from skd_lab.pretrain import pretrain
from skd_lab.recipes import (
    DEFAULT_START,
    FAMILIES,
    STARTS,
    TASKS,
    Recipe,
    make_model,
    make_tokenizer,
    pair_name,
)
from skd_lab.starts import fine_tune
from skd_lab.tasks import get_task
from skd_lab.tasks.generated import Generated


def small(recipe: Recipe, **changes) -> Recipe:
    """The same kind of model and data, as little of it as there can be."""
    prompts = {task: 8 // len(recipe.prompts) for task in recipe.prompts}
    return replace(
        recipe, hidden_size=8, layers=2, intermediate_size=8, heads=1, key_value_heads=1,
        **{"head_dim": 8, "prompts": prompts, "steps": 2, "batch_size": 4, "warmup_steps": 1,
           "decay_steps": None, "then": (), **changes},
    )  # fmt: skip


def small_starts(family: str) -> dict[str, dict[str, Recipe]]:
    return {
        pair: {name: small(recipe) for name, recipe in STARTS[pair].items()}
        for pair in (pair_name(family, task) for task in TASKS)
    }


def make(family: str, out, held_out: int = 2, say=lambda _: None):
    teacher = small(FAMILIES[family], head_dim=16)
    return pretrain(
        family, out, teacher=teacher, starts=small_starts(family), held_out=held_out,
        progress=False, say=say,
    )  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


@pytest.fixture(scope="module")
def family(tokenizer, tmp_path_factory):
    """A finished family, and what was said on the way."""
    said: list[str] = []
    out = tmp_path_factory.mktemp("made") / "family"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skd_lab.pretrain.make_tokenizer", lambda: tokenizer)
        make("tiny-qwen3", out, say=said.append)
    return out, said


def test_the_tokenizer_fits_the_task(tokenizer):
    assert len(tokenizer) == 1024
    examples = get_task("summaries").load("validation", 100)
    prompts = [
        tokenizer.apply_chat_template(e.messages, add_generation_prompt=True, return_dict=False)
        for e in examples
    ]
    answers = [tokenizer(e.reference)["input_ids"] for e in examples]
    assert sum(map(len, prompts)) / 100 < 60 and sum(map(len, answers)) / 100 < 20
    assert tokenizer.tokenize(" Anna") == ["ĠAnna"]
    assert tokenizer.tokenize(" 10 am") == ["Ġ", "1", "0", "Ġam"]


def test_pretrain_leaves_whole_pairs(family):
    out, said = family
    assert said[0].startswith("tokenizer") and "2 updates" in said[1]
    assert sorted(path.name for path in out.iterdir()) == sorted(
        pair_name("tiny-qwen3", task) for task in TASKS
    )
    for task in TASKS:
        pair = pair_name("tiny-qwen3", task)
        about = json.loads((out / pair / "pair.json").read_text())
        loaded = load_pair(
            student=out / pair / about["student"], teacher=out / pair / about["teacher"],
            device="cpu",
        )  # fmt: skip
        assert (
            loaded.vocab_size == 1024 and loaded.eos_token_ids == [2] and loaded.pad_token_id == 0
        )
        assert loaded.student.config.head_dim == 8 and loaded.teacher.config.head_dim == 16
        assert (about["name"], about["family"], about["task"]) == (pair, "tiny-qwen3", task)
        assert about["teacher"].endswith("teacher") and about["student"] == "student"
        assert list(about["starts"]) == list(STARTS[pair])
        for name, place in {**about["starts"], "teacher": about["teacher"]}.items():
            folder = out / pair / place
            weights = load_file(folder / "model.safetensors")
            assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
            assert "lm_head.weight" not in weights
            settings = json.loads((folder / "generation_config.json").read_text())
            assert settings["eos_token_id"] == [2] and settings["do_sample"] is False
            card = (folder / "README.md").read_text(encoding="utf-8")
            assert card.startswith("---\nlicense: apache-2.0")
            metric = get_task(task).headline
            row = f"| {task} | test | 2 | {metric} | 0.000 |"
            # a teacher's also on other prompts; how its recipe was chosen goes with that recipe
            assert card.count(row) == (2 if name == "teacher" else 1)
            assert ("--data-seed" in card) == (name == "teacher")
            assert "several sittings" not in card
            assert about["held_out"][name] == {
                "n": 2, "metrics": about["held_out"][name]["metrics"]
            }  # fmt: skip
            assert sum(about["recipes"][name]["prompts"].values()) == 8
        assert about["held_out"]["student"] == about["held_out"][DEFAULT_START[task]]
        assert ("unseen" in about) == (task == "instruction")


def test_checksums_are_of_all_files_of_a_pair(family):
    out, _ = family
    for task in TASKS:
        folder = out / pair_name("tiny-qwen3", task)
        lines = (folder / "SHA256SUMS").read_text().splitlines()
        listed = {name: digest for digest, name in (line.split("  ") for line in lines)}
        for name, digest in listed.items():
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
        there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
        assert there - set(listed) == {"SHA256SUMS"}


def test_pretraining_starts_from_the_recipes_weights_and_moves_them(family, tokenizer):
    out, _ = family
    recipe = small_starts("tiny-qwen3")["tiny-qwen3"]["barely"]
    start, again = make_model(recipe, tokenizer), make_model(recipe, tokenizer)
    other = make_model(replace(recipe, seed=7), tokenizer)
    trained = load_model(out / "tiny-qwen3" / "student-barely", device="cpu")
    name = "model.layers.0.mlp.up_proj.weight"
    weight = {
        key: model.state_dict()[name]
        for key, model in dict(start=start, again=again, other=other, trained=trained).items()
    }
    assert torch.equal(weight["start"], weight["again"])
    assert not torch.allclose(weight["start"], weight["other"], atol=1e-3)
    moved = (weight["trained"] - weight["start"]).abs().max()
    assert 1e-4 < moved < 2.5 * recipe.learning_rate  # two steps of Adam


def test_making_a_model_leaves_the_global_generator_alone(tokenizer):
    before = torch.get_rng_state()
    make_model(small(FAMILIES["tiny-gemma3"]), tokenizer)
    assert torch.equal(before, torch.get_rng_state())


def test_pretrain_twice_gives_the_same_weights_and_the_other_family_its_class(
    family, tokenizer, tmp_path, monkeypatch
):
    out, _ = family
    monkeypatch.setattr("skd_lab.pretrain.make_tokenizer", lambda: tokenizer)
    second, other = make("tiny-qwen3", tmp_path / "a"), make("tiny-gemma3", tmp_path / "b")
    for place in ("tiny-qwen3/teacher", "tiny-qwen3-translation/student-barely"):
        name = f"{place}/model.safetensors"
        assert (out / name).read_bytes() == (second / name).read_bytes()
    teacher = json.loads((other / "tiny-gemma3" / "teacher" / "config.json").read_text())
    assert teacher["architectures"] == ["Gemma3ForCausalLM"] and teacher["sliding_window"] == 32
    assert "Gemma3ForCausalLM" in (other / "tiny-gemma3" / "teacher" / "README.md").read_text()


def test_pretrain_refuses_what_is_there_and_what_it_does_not_know(family):
    out, _ = family
    before = (out / "tiny-qwen3" / "SHA256SUMS").read_bytes()
    with pytest.raises(RunExistsError, match="already pairs"):
        make("tiny-qwen3", out)
    assert (out / "tiny-qwen3" / "SHA256SUMS").read_bytes() == before
    with pytest.raises(UsageError, match="'tiny-gpt'.*tiny-qwen3, tiny-gemma3"):
        pretrain("tiny-gpt")


def test_the_tokenizer_is_the_bundled_one_byte_for_byte(family):
    out, _ = family
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        base = BUNDLED / "tiny-qwen3" / "student" / file
        assert (out / "tiny-qwen3" / "teacher" / file).read_bytes() == base.read_bytes()
    saved = load_tokenizer(out / "tiny-qwen3" / "student")
    text = "naïve 2048 → 😀\n\n ok "
    assert saved.decode(saved(text)["input_ids"]) == text


def test_a_model_sees_the_train_split_of_its_own_tasks_alone(tokenizer, tmp_path, monkeypatch):
    asked = []
    load = Generated.load
    monkeypatch.setattr(
        Generated,
        "load",
        lambda self, *a, **k: asked.append((self.name, a, k)) or load(self, *a, **k),
    )
    for recipe in (small(FAMILIES["tiny-qwen3"]), small(STARTS["tiny-qwen3"]["barely"])):
        fine_tune(make_model(recipe, tokenizer), tokenizer, recipe, tmp_path / str(len(asked)))
    asked = [
        (task, a[:2], {"seed": (*a, k.get("seed"))[-1 if len(a) == 2 else 2]})
        for task, a, k in asked
    ]
    assert asked == [
        *((task, ("train", 2), {"seed": 1}) for task in TASKS),
        ("summaries", ("train", 8), {"seed": 0}),
    ]
