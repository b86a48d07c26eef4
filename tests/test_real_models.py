"""Folders as the Hub has them: padded heads, wrappers, sampling settings, ties, gated licences."""

import json

import httpx
import pytest
import torch
import transformers.utils.hub
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from quirks import save, tokenizer_of, write_checkpoint
from tiny import tiny_model
from transformers import AutoModelForCausalLM, Gemma3Config, Gemma3ForConditionalGeneration

import skd_lab as skd
from skd_lab.batch import collate
from skd_lab.cli import main
from skd_lab.encode import encode_prompt
from skd_lab.errors import UsageError
from skd_lab.loading import load_model, load_tokenizer
from skd_lab.models import load_pair
from skd_lab.rollout import reference_rollout
from skd_lab.sampling import SamplingPolicy, draw_uniforms
from skd_lab.speculative import interleaved_rollout

QWEN_SMALL, QWEN_LARGE = 151_936, 152_064
GEMMA3_TEXT, GEMMA3_SEEING = 262_144, 262_208


def rollout(pair, seed=0, tokens=24, k=3):
    prompts = [encode_prompt(pair.tokenizer, text) for text in ("Hello", "a b")]
    return interleaved_rollout(
        pair.student,
        pair.teacher,
        prompts,
        accept_top_k=k,
        max_new_tokens=tokens,
        eos_token_ids=pair.eos_token_ids,
        student_policy=SamplingPolicy(),
        teacher_policy=SamplingPolicy(),
        uniforms=draw_uniforms(seed, len(prompts), tokens),
        vocab_size=pair.vocab_size,
    )


@pytest.fixture(scope="module")
def qwen25(tmp_path_factory):
    """Qwen2.5-0.5B and 7B in small: the small one tied, the large one wider and not tied."""
    folder = tmp_path_factory.mktemp("qwen25")
    small = dict(width=QWEN_SMALL, tie_word_embeddings=True)
    large = dict(width=QWEN_LARGE, seed=1, hidden_size=32, layers=3)
    return (
        write_checkpoint(folder / "small", "qwen2.5", **small),
        write_checkpoint(folder / "large", "qwen2.5", **large),
    )


@pytest.fixture(scope="module")
def gemma3(tmp_path_factory):
    """Gemma 3 1B, which reads text alone, and 4B, which also sees and has a wider head."""
    folder = tmp_path_factory.mktemp("gemma3")
    text = tiny_model("gemma3", seed=2, vocab_size=GEMMA3_SEEING, dtype=torch.float32)
    seeing = Gemma3Config(
        text_config={**text.config.to_dict(), "vocab_size": GEMMA3_SEEING},
        vision_config=dict(
            hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
            image_size=28, patch_size=14,
        ),
        mm_tokens_per_image=4,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        whole = Gemma3ForConditionalGeneration(seeing).float()
    whole.model.language_model.load_state_dict(text.model.state_dict())
    save(whole, folder / "seeing", "gemma3")
    return (
        write_checkpoint(folder / "text", "gemma3", width=GEMMA3_TEXT),
        folder / "seeing",
        text,
    )


def test_heads_of_published_widths_are_cut_to_the_real_ids(qwen25):
    pair = load_pair(student=qwen25[0], teacher=qwen25[1], device="cpu")
    assert pair.vocab_size == 151_665 == len(pair.tokenizer)
    assert (pair.eos_token_ids, pair.pad_token_id) == ([151_643, 151_645], 151_643)
    assert "(student 151,936, teacher 152,064)" in pair.report
    assert "the ids beyond are never drawn" in pair.report
    drawn = torch.cat([one.completion_ids for one in rollout(pair)])
    assert drawn.max() < pair.vocab_size


def test_gemma3_has_a_token_more_than_rows_and_a_wider_teacher(gemma3):
    pair = load_pair(student=gemma3[0], teacher=gemma3[1], device="cpu")
    assert len(pair.tokenizer) == GEMMA3_TEXT + 1
    assert pair.vocab_size == GEMMA3_TEXT
    assert pair.eos_token_ids == [1, 106]
    drawn = torch.cat([one.completion_ids for one in rollout(pair, tokens=8)])
    assert drawn.max() < GEMMA3_TEXT


def test_of_a_gemma_that_sees_the_language_model_alone_is_loaded(gemma3):
    _, folder, text = gemma3
    ids = torch.arange(20, 40)[None]
    whole = AutoModelForCausalLM.from_pretrained(folder).eval()
    assert type(whole) is Gemma3ForConditionalGeneration
    model = load_model(folder, device="cpu")
    assert type(model) is type(text)
    assert not any("vision" in name for name, _ in model.named_parameters())
    with torch.no_grad():
        logits = model(ids).logits
        torch.testing.assert_close(logits, whole(ids).logits)
        torch.testing.assert_close(logits, text(ids).logits)


def test_weights_under_the_wrappers_newer_names_are_found_too(gemma3, tmp_path):
    from safetensors.torch import load_file, save_file

    old = load_file(gemma3[1] / "model.safetensors")
    moved = {
        name.replace("language_model.model.", "model.language_model."): weight
        for name, weight in old.items()
    }
    assert set(moved) != set(old)
    (tmp_path / "config.json").write_text((gemma3[1] / "config.json").read_text())
    save_file(moved, tmp_path / "model.safetensors", metadata={"format": "pt"})
    ids = torch.arange(20, 40)[None]
    with torch.no_grad():
        logits = [load_model(at, device="cpu")(ids).logits for at in (tmp_path, gemma3[1])]
    assert torch.equal(*logits)


@pytest.mark.parametrize("family, width", [("qwen2.5", QWEN_SMALL), ("gemma3", GEMMA3_TEXT)])
def test_sampling_settings_of_a_checkpoint_change_nothing(family, width, tmp_path):
    """Their temperature, top_k, top_p and repetition_penalty are advice for chatting."""
    folder = write_checkpoint(tmp_path / "model", family, width=width)
    path = folder / "generation_config.json"
    settings = json.loads(path.read_text())
    assert {"do_sample", "temperature", "top_p", "top_k", "repetition_penalty"} & set(settings)
    texts = []
    for kept in (settings, {k: v for k, v in settings.items() if k.endswith("token_id")}):
        path.write_text(json.dumps(kept))
        pair = load_pair(student=folder, teacher=folder, device="cpu")
        texts.append([one.completion_ids.tolist() for one in rollout(pair)])
    assert texts[0] == texts[1]


def test_gemma2_stops_at_the_end_of_its_turn_though_its_files_list_eos_alone(tmp_path):
    folder = write_checkpoint(tmp_path / "model", "gemma2", width=256_000)
    pair = load_pair(student=folder, teacher=folder, device="cpu")
    assert pair.eos_token_ids == [1, 107]
    assert "stops at    <eos> (1), <end_of_turn> (107)" in pair.report
    assert "eager attention" in pair.report  # the cap on its attention is in no other


@pytest.mark.parametrize("family, width", [("qwen2.5", QWEN_SMALL), ("gemma2", 256_000)])
def test_the_last_eos_is_trained_where_padding_is_an_eos_too(family, width):
    """Qwen pads with <|endoftext|>, which also ends texts; nothing is told apart by the pad id."""
    tokenizer = tokenizer_of(family)
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    rows = reference_rollout([[5, 6], [5]], [[7, pad, end], [8, pad]], [pad, end])
    batch = collate(rows, pad)
    assert batch.lengths.tolist() == [3, 2]
    assert batch.completion_ids.tolist() == [7, pad, end, 8, pad]


def test_a_student_whose_template_is_not_the_teachers_is_reported(qwen25, tmp_path):
    """As Qwen2.5-0.5B beside 7B-Instruct: another default system text."""
    folder = write_checkpoint(tmp_path / "base", "qwen2.5", width=QWEN_SMALL)
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = tokenizer.chat_template.replace("You are Qwen", "You help")
    tokenizer.save_pretrained(folder)
    pair = load_pair(student=folder, teacher=qwen25[1], device="cpu")
    assert "the teacher's own template differs" in pair.report
    same = load_pair(student=qwen25[0], teacher=qwen25[1], device="cpu")
    assert "template" not in same.report


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "mine.jsonl"
    rows = [{"prompt": text, "completion": "Hello"} for text in ("Hello", "a", "b c", "d")]
    turns = [
        {
            "messages": [
                {"role": "user", "content": row["prompt"]},
                {"role": "assistant", "content": row["completion"]},
            ]
        }
        for row in rows
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in turns), encoding="utf-8")
    return path


@pytest.mark.parametrize("method", ["skd", "supervised_kd"])
def test_a_tied_student_of_an_untied_wider_teacher_trains_and_loads_again(
    method, qwen25, questions, tmp_path
):
    flags = ["--task", "jsonl", "--data-path", str(questions), "--device", "cpu", "--quiet"]
    flags += ["--steps", "2", "--batch-size", "2", "--max-new-tokens", "8", "--trace-prompts", "0"]
    flags += ["--learning-rate", "1e-3", "--run-dir", str(tmp_path / "run")]
    flags += ["--max-prompt-tokens", "240"]
    models = ["--student", str(qwen25[0]), "--teacher", str(qwen25[1])]
    assert main(["train", *models, "--method", method, *flags]) == 0
    before, after = (load_model(at, device="cpu") for at in (qwen25[0], tmp_path / "run/student"))
    assert after.lm_head.weight is after.model.embed_tokens.weight
    rows = before.lm_head.weight != after.lm_head.weight
    assert rows.any() and not rows[151_665:].any()  # padded rows get no gradient
    kept = json.loads((tmp_path / "run/student/generation_config.json").read_text())
    assert kept["eos_token_id"] == [151_645, 151_643]


def test_qwen3_answers_without_thinking_unless_asked(tmp_path):
    folder = write_checkpoint(tmp_path / "model", "qwen3", width=QWEN_SMALL)
    pair = load_pair(student=folder, teacher=folder, device="cpu")
    assert "answers without thinking, unless --thinking is given" in pair.report
    assert pair.vocab_size == 151_669


def refuse(monkeypatch, kind, status):
    """Let every request to the Hub be answered as it answers for models that it keeps back."""

    def refusing(*args, **kwargs):
        asked = httpx.Request("GET", "https://huggingface.co/google/gemma-2-2b-it/resolve/main/x")
        raise kind(f"{status} Client Error.", response=httpx.Response(status, request=asked))

    for name in ("hf_hub_download", "snapshot_download"):
        monkeypatch.setattr(transformers.utils.hub, name, refusing)


@pytest.mark.parametrize("load", [load_tokenizer, load_model])
def test_a_gated_model_says_what_to_click_and_how_to_log_in(load, monkeypatch):
    refuse(monkeypatch, GatedRepoError, 401)
    with pytest.raises(UsageError) as refusal:
        load("google/gemma-2-2b-it")
    for piece in (
        "'google/gemma-2-2b-it' is gated",
        "Open https://huggingface.co/google/gemma-2-2b-it, log in, and accept its licence",
        "https://huggingface.co/settings/tokens",
        "`hf auth login`, or set HF_TOKEN",
        "Colab",
    ):
        assert piece in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_account_that_has_not_accepted_is_told_so(monkeypatch):
    refuse(monkeypatch, GatedRepoError, 403)
    with pytest.raises(UsageError, match="account of your token may not read it yet.*accept"):
        load_tokenizer("google/gemma-2-2b-it")


@pytest.mark.parametrize(
    "token, said", [(None, "you are not logged in.*hf auth login"), ("x", "may not see it")]
)
def test_a_name_that_the_hub_does_not_show(token, said, monkeypatch):
    refuse(monkeypatch, RepositoryNotFoundError, 401)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: token)
    with pytest.raises(UsageError, match=f"no 'google/gemma-2-2b-it' on the Hub.*{said}"):
        load_model("google/gemma-2-2b-it")


def test_the_command_line_prints_the_refusal_alone(monkeypatch, capsys):
    refuse(monkeypatch, GatedRepoError, 401)
    assert main(["train", "--student", "google/gemma-2-2b-it", "--teacher", "google/x"]) == 2
    said = capsys.readouterr().err
    assert "is gated" in said and "Traceback" not in said


def test_the_public_loader_is_the_one_tested_here():
    assert skd.load_pair is load_pair
