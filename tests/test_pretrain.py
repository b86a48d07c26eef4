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
from skd_lab.recipes import RECIPES, make_model, make_tokenizer, stand_in
from skd_lab.tasks import get_task
from skd_lab.tasks.generated import Generated

TINY = {
    role: replace(
        stand_in(recipe), head_dim=8 if role == "student" else 16, prompts=8, steps=2,
        batch_size=4, warmup_steps=1, seed=index,
    )
    for index, (role, recipe) in enumerate(RECIPES["tiny-qwen3"].items())
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


@pytest.fixture(scope="module")
def pair(tokenizer, tmp_path_factory):
    """A finished pair, and what was said on the way."""
    said: list[str] = []
    out = tmp_path_factory.mktemp("made") / "pair"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skd_lab.pretrain.make_tokenizer", lambda: tokenizer)
        pretrain(out_dir=out, recipes=TINY, held_out=3, progress=False, say=said.append)
    return out, said


def test_the_tokenizer_fits_the_task(tokenizer):
    assert len(tokenizer) == 1024
    examples = get_task("summaries").load("validation", 100)
    prompts = [
        tokenizer.apply_chat_template(e.messages, add_generation_prompt=True, return_dict=False)
        for e in examples
    ]
    answers = [tokenizer(e.reference)["input_ids"] for e in examples]
    assert sum(map(len, prompts)) / 100 < 45 and sum(map(len, answers)) / 100 < 20
    assert tokenizer.tokenize(" Anna") == ["ĠAnna"]
    assert tokenizer.tokenize(" 10 am") == ["Ġ", "1", "0", "Ġam"]


def test_pretrain_leaves_a_whole_pair(pair):
    out, said = pair
    assert said[0].startswith("tokenizer") and "2 updates" in said[1]
    loaded = load_pair(student=out / "student", teacher=out / "teacher", device="cpu")
    assert loaded.vocab_size == 1024 and loaded.eos_token_ids == [2] and loaded.pad_token_id == 0
    assert loaded.student.config.head_dim == 8 and loaded.teacher.config.head_dim == 16
    for role in ("student", "teacher"):
        weights = load_file(out / role / "model.safetensors")
        assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
        assert "lm_head.weight" not in weights
        settings = json.loads((out / role / "generation_config.json").read_text())
        assert settings["eos_token_id"] == [2] and settings["do_sample"] is False
        card = (out / role / "README.md").read_text(encoding="utf-8")
        assert card.startswith("---\nlicense: apache-2.0")
        assert "facts_exact | 0.000" in card and f"the\n{role}" in card
    about = json.loads((out / "pair.json").read_text())
    assert (about["student"], about["teacher"]) == ("student", "teacher")
    assert about["held_out"]["teacher"]["n"] == 3
    assert about["recipes"]["student"]["prompts"] == 8
    for line in (out / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    listed = {line.split("  ")[1] for line in (out / "SHA256SUMS").read_text().splitlines()}
    there = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert there - listed == {"SHA256SUMS"}


def test_pretraining_starts_from_the_recipes_weights_and_moves_them(pair, tokenizer):
    out, _ = pair
    start = make_model(TINY["student"], tokenizer)
    again = make_model(TINY["student"], tokenizer)
    other = make_model(replace(TINY["student"], seed=7), tokenizer)
    trained = load_model(out / "student", device="cpu")
    name = "model.layers.0.mlp.up_proj.weight"
    weight = {
        key: model.state_dict()[name]
        for key, model in dict(start=start, again=again, other=other, trained=trained).items()
    }
    assert torch.equal(weight["start"], weight["again"])
    assert not torch.allclose(weight["start"], weight["other"], atol=1e-3)
    moved = (weight["trained"] - weight["start"]).abs().max()
    assert 1e-4 < moved < 2.5 * TINY["student"].learning_rate  # two steps of Adam


def test_making_a_model_leaves_the_global_generator_alone(tokenizer):
    before = torch.get_rng_state()
    make_model(TINY["student"], tokenizer)
    assert torch.equal(before, torch.get_rng_state())


def test_pretrain_twice_gives_the_same_weights(pair, tokenizer, tmp_path, monkeypatch):
    out, _ = pair
    monkeypatch.setattr("skd_lab.pretrain.make_tokenizer", lambda: tokenizer)
    options = dict(recipes=TINY, held_out=1, progress=False, say=lambda _: None)
    second = pretrain(out_dir=tmp_path / "pair", **options)
    for role in ("student", "teacher"):
        name = f"{role}/model.safetensors"
        assert (out / name).read_bytes() == (second / name).read_bytes()


def test_pretrain_refuses_what_is_there_and_what_it_does_not_know(pair):
    out, _ = pair
    before = (out / "SHA256SUMS").read_bytes()
    with pytest.raises(RunExistsError, match="already a pair"):
        pretrain(out_dir=out, recipes=TINY)
    assert (out / "SHA256SUMS").read_bytes() == before
    with pytest.raises(UsageError, match="'tiny-gpt'.*tiny-qwen3"):
        pretrain("tiny-gpt")


def test_the_tokenizer_of_a_saved_pair_is_the_one_trained(pair, tokenizer):
    out, _ = pair
    saved = load_tokenizer(out / "student")
    assert saved.get_vocab() == tokenizer.get_vocab()
    assert saved.chat_template == tokenizer.chat_template
    text = "naïve 2048 → 😀\n\n ok "
    assert saved.decode(saved(text)["input_ids"]) == text


def test_the_other_pairs_take_the_base_pairs_tokenizer_and_their_own_task(tmp_path):
    said: list[str] = []
    out = pretrain(
        "tiny-qwen3-arithmetic", tmp_path / "pair", recipes=TINY, held_out=3, progress=False,
        say=said.append,
    )  # fmt: skip
    assert said[0] == "tokenizer: of tiny-qwen3"
    for role in ("student", "teacher"):
        for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            made, base = out / role / file, BUNDLED / "tiny-qwen3" / "student" / file
            assert made.read_bytes() == base.read_bytes()
        card = (out / role / "README.md").read_text(encoding="utf-8")
        assert "| answer_exact | 0.000 |" in card and "word problems" in card
        assert "dialogue" not in card and "facts_exact" not in card
    about = json.loads((out / "pair.json").read_text())
    assert about["task"] == "arithmetic"
    assert list(about["held_out"]["student"]["metrics"]) == ["answer_exact", "steps_exact"]


def test_training_sees_only_the_pairs_own_task(tmp_path, monkeypatch):
    asked = []
    task = get_task("arithmetic")
    monkeypatch.setattr(
        type(task),
        "load",
        lambda self, *a, **k: asked.append((a, k)) or Generated.load(self, *a, **k),
    )
    pretrain(
        "tiny-qwen3-arithmetic", tmp_path / "pair", recipes=TINY, held_out=3, progress=False,
        say=lambda _: None,
    )  # fmt: skip
    splits = [a[0] for a, _ in asked]
    assert splits == ["train", "train", "test"] and [k.get("seed") for _, k in asked][:2] == [1, 0]
