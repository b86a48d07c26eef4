"""A pair that can work together, the report on it, and the refusals."""

import json
import logging
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import ARCHITECTURES, tiny_model
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from skd_lab.cache import supports_rollback
from skd_lab.errors import SkdError, TokenizerMismatchError, UsageError
from skd_lab.loading import load_model
from skd_lab.models import load_pair, make_pair, shared_vocab_size
from skd_lab.sampling import SamplingPolicy, draw_uniforms
from skd_lab.speculative import interleaved_rollout

WORDS = 20
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"


def words_tokenizer(words=WORDS, swap=None, template=TEMPLATE):
    """<pad> and <end>, then w2, w3, ...; `swap` exchanges two ids."""
    tokens = ["<pad>", "<end>", *(f"w{i}" for i in range(2, words))]
    if swap:
        i, j = swap
        tokens[i], tokens[j] = tokens[j], tokens[i]
    vocab = {token: i for i, token in enumerate(tokens)}
    core = Tokenizer(WordLevel(vocab, unk_token="<pad>"))
    core.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="<end>", chat_template=template
    )


def write_model(folder, *, seed=0, rows=WORDS, tokenizer=None, architecture="qwen3", **config):
    model = tiny_model(
        architecture, seed=seed, vocab_size=rows, dtype=torch.float32, eos_token_id=1, **config
    )
    model.save_pretrained(folder)
    (tokenizer or words_tokenizer()).save_pretrained(folder)
    return folder


@pytest.fixture
def folders(tmp_path):
    """Qwen's case in small: one tokenizer of 20 words, heads of 24 and 32 rows."""
    return (
        write_model(tmp_path / "small", rows=24),
        write_model(tmp_path / "large", rows=32, seed=1, layers=3, hidden_size=24),
    )


def test_padded_vocabularies_are_cut_to_the_shared_real_ids(folders):
    pair = load_pair(student=folders[0], teacher=folders[1], device="cpu")
    assert pair.vocab_size == WORDS
    assert (pair.eos_token_ids, pair.pad_token_id) == ([1], 0)
    assert pair.names == {"student": "small", "teacher": "large"}
    assert "20 ids shared; logits are cut to these (student 24, teacher 32)" in pair.report
    # what the cut is for: ids that no text has are drawn without it, and never with it
    policy = SamplingPolicy()

    def drawn(vocab_size):
        teacher = pair.teacher if vocab_size else pair.student  # heads of one width, uncut
        rollouts = interleaved_rollout(
            pair.student,
            teacher,
            [[2, 3], [5]] * 4,
            accept_top_k=2,
            max_new_tokens=24,
            eos_token_ids=[],
            student_policy=policy,
            teacher_policy=policy,
            uniforms=draw_uniforms(0, 8, 24),
            vocab_size=vocab_size,
        )
        return torch.cat([rollout.completion_ids for rollout in rollouts]).max().item()

    assert drawn(vocab_size=pair.vocab_size) < WORDS <= drawn(vocab_size=None)


def test_the_report_says_what_was_loaded_once(folders, caplog):
    with caplog.at_level(logging.INFO, "skd_lab"):
        logging.getLogger("skd_lab").propagate = True
        pair = load_pair(student=folders[0], teacher=folders[1], device="cpu")
    assert [record.message for record in caplog.records] == [pair.report]
    student, teacher, *rest = pair.report.splitlines()
    size = sum(parameter.numel() for parameter in pair.teacher.parameters()) / 1e6
    assert student.startswith("student     small: Qwen3ForCausalLM")
    assert teacher.startswith(f"teacher     large: Qwen3ForCausalLM, {size:.2f}M parameters")
    for word in ("3 layers", "context 256", "float32", "sdpa attention", "cpu"):
        assert word in teacher
    assert rest[1] == "stops at    <end> (1)"
    assert not any(line.startswith(("chat", "drafts")) for line in rest)


def test_the_report_says_what_is_missing(tmp_path):
    plain = words_tokenizer(template=None)
    write_model(tmp_path / "a", tokenizer=plain)
    write_model(tmp_path / "b", tokenizer=plain, architecture="qwen3_next", layers=2)
    pair = load_pair(student=tmp_path / "a", teacher=tmp_path / "b", device="cpu")
    assert "no chat template" in pair.report
    assert "gamma is 1" in pair.report and not pair.can_roll_back
    assert "20 ids shared\n" in pair.report


def test_every_listed_eos_ends_a_completion(folders):
    for folder, listed in zip(folders, ([1, 7], [9, 31]), strict=True):
        path = folder / "generation_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": listed}))
    pair = load_pair(student=folders[0], teacher=folders[1], device="cpu")
    assert pair.eos_token_ids == [1, 7, 9]  # 31 is padding: no token has it


def test_an_end_of_one_tokenizer_that_the_other_lacks_is_cut(tmp_path):
    names = {"student": "a", "teacher": "b"}
    assert shared_vocab_size(words_tokenizer(20), words_tokenizer(23), names) == 20
    assert shared_vocab_size(words_tokenizer(23), words_tokenizer(20), names) == 20


def test_tokenizers_that_differ_are_refused(tmp_path):
    write_model(tmp_path / "mine")
    write_model(tmp_path / "yours", tokenizer=words_tokenizer(22, swap=(5, 11)), rows=22)
    with pytest.raises(TokenizerMismatchError) as refusal:
        load_pair(student=tmp_path / "mine", teacher=tmp_path / "yours")
    for piece in ("mine (20 tokens)", "yours (22 tokens)", "id 5 is 'w5'", "'w11'", "one family"):
        assert piece in str(refusal.value)


def test_folders_that_hold_no_model_are_refused(tmp_path):
    folder = write_model(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    with pytest.raises(
        UsageError, match="Cannot load a model .*model.safetensors.*save_pretrained"
    ):
        load_model(folder)
    (folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(UsageError, match="Cannot load a model"):
        load_model(folder)
    with pytest.raises(UsageError, match="Cannot load a tokenizer from .*gone.*check the path"):
        load_pair(student=tmp_path / "gone", teacher=folder)
    with pytest.raises(UsageError, match="no bundled pair 'nosuch'"):
        load_pair("nosuch")
    with pytest.raises(UsageError, match="A pair is a student and a teacher"):
        load_pair(student=folder)


def test_a_hub_id_that_is_not_at_hand_is_one_paragraph():
    with pytest.raises(
        UsageError, match="nobody/nothing.*spelling and that this machine can reach"
    ):
        load_pair(student="nobody/nothing", teacher="nobody/nothing")


def test_weights_that_are_incomplete_are_refused(tmp_path):
    # transformers would fill them with random numbers and a warning
    folder = write_model(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UsageError, match=r"1 of the model's.*model\.layers\.1\.mlp\.up_proj"):
        load_model(folder)


def test_weights_that_are_not_finite_are_a_failure():
    models = [tiny_model("llama", seed=seed, dtype=torch.float32) for seed in (0, 1)]
    with torch.no_grad():
        models[1].model.norm.weight.fill_(torch.nan)
    with pytest.raises(SkdError, match="logits of teacher hold nan") as failure:
        make_pair(*models, words_tokenizer())
    assert failure.value.exit_code == 1


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_head_check_passes_what_can_be_trained(architecture, dtype):
    models = [tiny_model(architecture, seed=seed, dtype=dtype) for seed in (0, 1)]
    assert make_pair(*models, words_tokenizer()).vocab_size == WORDS


def test_the_head_check_refuses_unknown_arithmetic(monkeypatch):
    models = [tiny_model("qwen3", seed=seed, dtype=torch.float32) for seed in (0, 1)]
    forward = models[1].forward

    def odd(*arguments, **settings):
        out = forward(*arguments, **settings)
        out.logits = out.logits * 1.1
        return out

    monkeypatch.setattr(models[1], "forward", odd)
    with pytest.raises(UsageError, match="teacher .*does something to its logits"):
        make_pair(*models, words_tokenizer())


def test_loading_leaves_a_mode_as_found():
    student = tiny_model("qwen2", seed=0).train()
    make_pair(student, tiny_model("qwen2", seed=1), words_tokenizer())
    assert student.training


@pytest.mark.parametrize(
    "architecture, has_sdpa, attention",
    [
        ("gemma2", False, "eager"),
        ("gemma2", True, "eager"),  # releases that allow it leave the cap on attention out
        ("gemma3", True, "sdpa"),
        ("qwen3", False, "eager"),
    ],
)
def test_attention_is_one_that_takes_masks_and_caps(
    architecture, has_sdpa, attention, tmp_path, monkeypatch
):
    folder = write_model(tmp_path / "model", architecture=architecture)
    line = type(load_model(folder, device="cpu")).__mro__
    base = next(kind for kind in line if "_supports_sdpa" in vars(kind))
    monkeypatch.setattr(base, "_supports_sdpa", has_sdpa)
    model = load_model(folder, device="cpu")
    assert model.config._attn_implementation == attention and not model.training


def test_flash_attention_in_a_config_is_not_used(tmp_path):
    folder = write_model(tmp_path / "model")
    path = folder / "config.json"
    asked = {**json.loads(path.read_text()), "_attn_implementation": "flash_attention_2"}
    path.write_text(json.dumps(asked))
    assert load_model(folder, device="cpu").config._attn_implementation == "sdpa"


def test_remote_code_is_not_run(tmp_path):
    folder = write_model(tmp_path / "model")
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), "model_type": "odd"}
    config["auto_map"] = {
        "AutoConfig": "odd.OddConfig",
        "AutoModelForCausalLM": "odd.OddModel",
    }
    path.write_text(json.dumps(config))
    (folder / "odd.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(UsageError, match="Cannot load a model"):
        load_model(folder)
    assert not (tmp_path / "ran").exists()


def test_a_device_that_is_not_there_is_refused(tmp_path):
    folder = write_model(tmp_path / "model")
    with pytest.raises(UsageError, match="Device 'nosuch' cannot be used here.*--device"):
        load_model(folder, device="nosuch")


def test_dtype_is_as_asked(tmp_path):
    folder = write_model(tmp_path / "model")
    assert load_model(folder, dtype="bfloat16", device="cpu").dtype == torch.bfloat16


@pytest.mark.parametrize(
    "architecture, holds", [(name, True) for name in ARCHITECTURES] + [("qwen3_next", False)]
)
def test_rollback_is_read_from_the_config(architecture, holds):
    assert supports_rollback(tiny_model(architecture, seed=0).config) is holds


def test_a_copied_pair_is_a_folder_pair(folders, tmp_path):
    moved = tmp_path / "elsewhere" / "small"
    shutil.copytree(folders[0], moved)
    here = load_pair(student=folders[0], teacher=folders[1], device="cpu").student
    there = load_pair(student=moved, teacher=folders[1], device="cpu").student
    for name, weight in here.state_dict().items():
        assert torch.equal(weight, there.state_dict()[name]), name
