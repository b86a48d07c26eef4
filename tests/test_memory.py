"""The dry run: bytes that are counted equal those that are there, and what follows from them."""

import json

import pytest
import torch
from test_models import write_model
from tiny import ARCHITECTURES, tiny_model
from torch import nn

from benchmarks.memory import CASES, PAGE, RESULTS, compare, table
from skd_lab import fakes, memory
from skd_lab.cache import PositionCache
from skd_lab.cli import main
from skd_lab.config import RunConfig
from skd_lab.errors import UsageError
from skd_lab.fakes import LiveBytes, at_depth, fake_model
from skd_lab.loading import load_config
from skd_lab.memory import plan
from skd_lab.simulate import Sizes, rollout_needs, update_needs, weights_of
from skd_lab.trainable import make_trainable

RUN = dict(student="a", teacher="b", device="cpu")
SIZES = Sizes(
    rows=4, microbatch=2, prompt=20, completion=12, block=3, vocab_size=32, teacher_width=16,
    teacher_bytes=4, device="cpu",
)  # fmt: skip


def config_of(architecture, layers=2):
    return tiny_model(architecture, seed=0, layers=layers, dtype=torch.float32).config


@pytest.fixture
def folders(tmp_path):
    """Configurations of a pair and nothing else: no weights, no tokenizer."""
    for role, seed in (("student", 0), ("teacher", 1)):
        folder = write_model(tmp_path / role, seed=seed, layers=6)
        for path in folder.iterdir():
            if path.name != "config.json":
                path.unlink()
    return dict(
        student=str(tmp_path / "student"), teacher=str(tmp_path / "teacher"), device="cpu",
        max_prompt_tokens=40, max_new_tokens=16, batch_size=8, gamma=4, data_path="none.jsonl",
        task="jsonl",
    )  # fmt: skip


@pytest.fixture
def simple(monkeypatch):
    """Passes that need 1 MiB a row: what is tested is what a plan makes of them."""
    row = 2.0**20
    needs = {
        "update_needs": lambda config, run, precision, sizes: dict.fromkeys(
            ("forward", "loss", "early", "late"), sizes.microbatch * row
        ),
        "rollout_needs": lambda config, dtype, precision, sizes: {
            "held": sizes.rows * row / 8,
            "passing": 0.0,
        },
        "block_needs": lambda sizes, dtype, judged: {"passing": 0.0},
    }
    for name, function in needs.items():
        monkeypatch.setattr(memory, name, function)


def test_storages_are_counted_while_they_live_and_once():
    with LiveBytes() as live:
        first = torch.zeros(1000)
        view = first[10:]
        assert (live.now, live.peak) == (4000, 4000)
        second = first + 1
        del second
        assert (live.now, live.peak) == (4000, 8000)
        assert live.mark() == 8000 and live.peak == 4000
        del first
        assert live.now == 4000  # the view keeps it
        del view
        assert live.now == 0


def test_a_fake_layer_holds_for_its_backward_pass_what_a_real_one_does():
    layer = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64))
    x = torch.zeros(100, 64)
    with LiveBytes() as live:
        live.known(x, *layer.parameters())
        out = layer(x)
        # the input of GELU, its output, and the result
        assert live.now == 3 * x.numel() * 4
        del out
        assert live.now == 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_weights_are_those_of_the_model(architecture):
    model = tiny_model(architecture, seed=0, layers=6, dtype=torch.float32)
    run = RunConfig(**RUN, lora_rank=2)
    found = weights_of(model.config, "float32", None)
    assert found["weights"] == sum(p.numel() * 4 for p in model.parameters())
    assert found["trained"] == 0
    whole = weights_of(model.config, "bfloat16", RunConfig(**RUN))
    assert whole["trained_bytes"] == whole["weights"] == found["weights"] / 2
    adapted = weights_of(model.config, "float32", run)
    make_trainable(model, run)
    assert adapted["trained"] == sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_keys_and_values_are_those_of_the_cache(architecture):
    model = tiny_model(architecture, seed=0, layers=6, dtype=torch.float32)
    capacity = SIZES.prompt + SIZES.completion
    cache = PositionCache(model.config, capacity)
    positions = torch.zeros(SIZES.rows, 1, dtype=torch.long)
    with torch.no_grad():
        mask = cache.at(positions, 1, model.dtype)
        model(input_ids=positions, attention_mask=mask, past_key_values=cache, use_cache=True)
    there = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    needs = rollout_needs(model.config, "float32", "no", SIZES)
    masks = needs["held"] - there  # the last block's mask, one of each kind, and its positions
    assert 0 <= masks < 10_000


def test_two_depths_tell_every_other(monkeypatch):
    config, run = config_of("gemma3", layers=6), RunConfig(**RUN)
    told = update_needs(config, run, "no", SIZES)
    monkeypatch.setattr(fakes, "_DEPTHS", (2, 6))
    done = update_needs(config, run, "no", SIZES)
    for name in told:
        assert told[name] == pytest.approx(done[name], rel=0.02)


def test_a_shallow_model_is_counted_as_it_is():
    seen = []

    def measure(config):
        seen.append(config.num_hidden_layers)
        return {"x": config.num_hidden_layers * 10.0 + 1}

    assert at_depth(config_of("llama", layers=3), measure) == {"x": 31.0}
    assert at_depth(config_of("llama", layers=9), measure) == {"x": 91.0}
    assert seen == [3, 2, 4]


def test_checkpointing_adapters_and_smaller_microbatches_need_less():
    config = config_of("llama", layers=4)

    def peak(microbatch=2, rows=2, **values):
        sizes = Sizes(**{**vars(SIZES), "microbatch": microbatch, "rows": rows})
        return max(update_needs(config, RunConfig(**RUN, **values), "no", sizes).values())

    whole = peak()
    assert peak(microbatch=1, rows=1) < whole
    assert peak(gradient_checkpointing=True) < 0.8 * whole
    assert peak(lora_rank=2) < whole
    # the gradients of the first microbatch lie there while the second passes
    assert peak(microbatch=1, rows=2) > peak(microbatch=1, rows=1)


def test_nothing_real_is_made_and_generators_are_left_alone():
    state = torch.random.get_rng_state()
    with fake_model(config_of("qwen3"), "float32", RunConfig(**RUN, lora_rank=2)) as model:
        assert {type(p.data).__name__ for p in model.parameters()} == {"FakeTensor"}
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_largest_batch_is_the_largest(folders, simple):
    small = plan(RunConfig(**folders), free=2**20)
    assert small.fits is False and small.peak == max(small.times.values())
    assert "Every prompt is taken to be as long as --max-prompt-tokens 40" in small.notes[0]
    free = small.peak - 2.5 * 2**20  # 8 rows at once are 2.5 too many
    told = plan(RunConfig(**folders), free=free)
    assert told.largest_microbatch == 5
    assert plan(RunConfig(**folders, microbatch_size=5), free=free).fits
    assert not plan(RunConfig(**folders, microbatch_size=6), free=free).fits
    wider = RunConfig(**{**folders, "batch_size": told.largest_batch}, microbatch_size=5)
    assert plan(wider, free=free).fits
    wider = wider.replace(batch_size=told.largest_batch + 1)
    assert told.largest_batch > 8 and not plan(wider, free=free).fits


def test_a_run_on_several_processes_shares_its_rows(folders, simple):
    alone, shared = (plan(RunConfig(**folders), free=2**30, processes=n) for n in (1, 4))
    assert (alone.rows, shared.rows) == (8, 2)
    assert shared.parts["caches"] == alone.parts["caches"] / 4
    split = plan(RunConfig(**folders, shard_student=True), free=2**30, processes=4)
    assert split.parts["gradients"] == alone.parts["gradients"] / 4
    with pytest.raises(UsageError, match="--batch-size 8 does not divide by 3 processes"):
        plan(RunConfig(**folders), processes=3)


def test_fewer_bits_and_masters_are_in_the_plan(folders, simple):
    def parts(**values):
        return plan(RunConfig(**folders, **values), free=2**30).parts

    whole = parts()
    assert parts(teacher_quantised="4bit")["teacher weights"] < 0.7 * whole["teacher weights"]
    half = parts(dtype="bfloat16")
    assert half["student weights"] == whole["student weights"] / 2
    assert half["optimizer"] == 1.5 * whole["optimizer"]  # a master beside two states
    assert parts(lora_rank=1)["optimizer"] < 0.5 * whole["optimizer"]
    assert parts(optimizer="adamw_8bit")["optimizer"] < 0.3 * whole["optimizer"]


def test_the_command_says_whether_it_fits_and_loads_nothing(folders, capsys):
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in folders.items()]
    assert main(["train", *flags, "--dry-run", "4"]) == 0
    text = capsys.readouterr().out
    for words in ("student weights", "optimizer", "caches", "activations", "logits", "It fits"):
        assert words in text
    assert "Largest that fits: --microbatch-size 8" in text


def test_what_does_not_fit_exits_with_1(folders, simple, capsys):
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in folders.items()]
    assert main(["train", *flags, "--dry-run", "0.0001", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["fits"] is False and found["largest_microbatch"] == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_plan_for_a_device_that_is_not_here_says_so(folders, simple):
    found = plan(RunConfig(**{**folders, "device": "cuda"}))
    assert found.fits is None and found.largest_batch is None
    assert "There is no cuda here to compare with" in found.as_text()
    assert "no GPU has checked" in found.notes[-1]
    against = plan(RunConfig(**{**folders, "device": "cuda"}), free=2**34)
    assert against.fits is True


def test_what_could_not_be_trained_has_no_plan(folders):
    with pytest.raises(UsageError, match="quantised student cannot be trained"):
        plan(RunConfig(**folders, student_quantised="4bit"))


def test_a_folder_without_a_configuration_is_refused(folders, tmp_path):
    with pytest.raises(UsageError, match="Cannot load a configuration from"):
        plan(RunConfig(**{**folders, "student": str(tmp_path / "nobody")}))


def test_the_configuration_is_read_with_its_attention(folders):
    assert load_config(folders["student"])._attn_implementation == "sdpa"


def test_the_page_and_the_committed_figures_agree():
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert [row["case"] for row in rows] == [case.name for case in CASES]
    assert table(rows) in PAGE.read_text(encoding="utf-8")
    for row in rows:
        assert row["measured"] > 2**30 and 0.85 < row["ratio"] < 1.15
        assert row["ratio"] == row["estimated"] / row["measured"]


@pytest.mark.slow
def test_an_estimate_is_near_what_a_process_really_takes():
    (case,) = (case for case in CASES if case.name == "gemma2, sft")
    found = compare(case)
    assert found["measured"] > 2**30
    assert 0.85 < found["ratio"] < 1.15
