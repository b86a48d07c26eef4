"""Held-out evaluation: every number of the report against a plain computation of it."""

import dataclasses
import json
import math
from types import SimpleNamespace

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from skd_lab.encode import Encoded
from skd_lab.errors import UsageError
from skd_lab.evaluate import evaluate, evaluate_generator, held_out_kl
from skd_lab.records import EvalReport
from skd_lab.rollout import student_rollout
from skd_lab.sampling import GREEDY, SamplingPolicy, draw_uniforms
from skd_lab.speculative import interleaved_rollout
from skd_lab.tasks import Example

VOCAB, ROWS, PAD, EOS = 24, 28, 0, 2
LIMIT, TOP_K = 7, 4


def tiny_model(seed, rows=ROWS):
    config = Qwen3Config(
        vocab_size=rows,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1 + seed,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=64,
        pad_token_id=PAD,
        eos_token_id=EOS,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(config).double().eval()
        with torch.no_grad():
            model.lm_head.weight.mul_(30)
    return model


class Letters:
    """A tokenizer: id n is the n-th letter; the eos is special."""

    def decode(self, ids, skip_special_tokens=False):
        kept = [i for i in ids.tolist() if not (skip_special_tokens and i == EOS)]
        return "".join(chr(ord("a") + i) for i in kept)


class Vowels:
    """A task: is there a vowel, and which share of the letters is one."""

    def score(self, example, completion_text):
        share = sum(c in "aeiou" for c in completion_text) / max(1, len(completion_text))
        return {"has_vowel": float(share > 0), "vowels": share}


@pytest.fixture(scope="module")
def pair():
    return SimpleNamespace(
        student=tiny_model(0),
        teacher=tiny_model(1, rows=ROWS + 3),
        tokenizer=Letters(),
        vocab_size=VOCAB,
        eos_token_ids=[EOS],
        pad_token_id=PAD,
    )


def problems(n=9, references=True):
    generator = torch.Generator().manual_seed(5)
    rows = []
    for i in range(n):
        ids = torch.randint(3, VOCAB, (1 + i % 4 + 2 + i % 3,), generator=generator).tolist()
        reference = [*ids[1 + i % 4 :], EOS] if references else None
        example = Example(id=f"p{i}", prompt="?")
        rows.append(Encoded(example=example, prompt_ids=ids[: 1 + i % 4], reference_ids=reference))
    return rows


def run(pair, encoded, **changes):
    arguments = dict(max_new_tokens=LIMIT, accept_top_k=TOP_K, seed=3, batch_size=4)
    return evaluate(pair, Vowels(), encoded, **{**arguments, **changes})


@pytest.fixture(scope="module")
def report(pair):
    return run(pair, problems(), name="start")


def plain_kl(pair, rows):
    """KL(teacher || student), row by row from full logits; rows are (prompt, completion) ids."""
    total, tokens = 0.0, 0
    for prompt, completion in rows:
        ids = torch.tensor([[*prompt, *completion]])
        with torch.no_grad():
            q, p = (
                torch.softmax(model(ids).logits[0, len(prompt) - 1 : -1, :VOCAB], dim=-1)
                for model in (pair.student, pair.teacher)
            )
        total += (p * (p / q).log()).sum().item()
        tokens += len(completion)
    return total / tokens


def test_kl_on_references(pair, report):
    expected = plain_kl(pair, [(row.prompt_ids, row.reference_ids) for row in problems()])
    assert expected > 0.1
    assert report.kl_references == pytest.approx(expected, rel=1e-9)


def test_the_teachers_nll_of_own_samples(pair, report):
    samples = student_rollout(
        pair.student,
        [row.prompt_ids for row in problems()],
        max_new_tokens=LIMIT,
        policy=SamplingPolicy(),
        uniforms=draw_uniforms(3, 9, LIMIT)[0],
        eos_token_ids=[EOS],
        vocab_size=VOCAB,
    )
    nats = []
    for sample in samples:
        ids = torch.tensor([[*sample.prompt_ids, *sample.completion_ids.tolist()]])
        with torch.no_grad():
            logits = pair.teacher(ids).logits[0, len(sample.prompt_ids) - 1 : -1, :VOCAB]
        nats += (-logits.log_softmax(-1)).gather(-1, sample.completion_ids[:, None]).tolist()
    assert report.nll_samples == pytest.approx(sum(n for [n] in nats) / len(nats), rel=1e-9)
    # a report of before it was measured still reads
    old = {k: v for k, v in json.loads(report.to_json()).items() if k != "nll_samples"}
    assert math.isnan(EvalReport.from_json(json.dumps(old)).nll_samples)


def test_kl_on_own_samples(pair, report):
    prompts = [row.prompt_ids for row in problems()]
    samples = student_rollout(
        pair.student,
        prompts,
        max_new_tokens=LIMIT,
        policy=SamplingPolicy(temperature=1.0),
        uniforms=draw_uniforms(3, len(prompts), LIMIT)[0],
        eos_token_ids=[EOS],
        vocab_size=VOCAB,
    )
    expected = plain_kl(pair, [(r.prompt_ids, r.completion_ids.tolist()) for r in samples])
    assert report.kl_samples == pytest.approx(expected, rel=1e-9)
    assert abs(report.kl_samples - report.kl_references) > 1e-3
    assert run(pair, problems(), seed=4).kl_samples != pytest.approx(expected, rel=1e-3)


def test_rates_of_the_interleaved_rollout(pair, report):
    prompts = [row.prompt_ids for row in problems()]
    rollouts = interleaved_rollout(
        pair.student,
        pair.teacher,
        prompts,
        accept_top_k=TOP_K,
        gamma=1,
        max_new_tokens=LIMIT,
        eos_token_ids=[EOS],
        student_policy=SamplingPolicy(),
        teacher_policy=SamplingPolicy(),
        uniforms=draw_uniforms(3, len(prompts), LIMIT),
        vocab_size=VOCAB,
    )
    replaced = sum(source == "teacher" for r in rollouts for source in r.trace.source)
    tokens = sum(len(r.completion_ids) for r in rollouts)
    assert 0 < report.replacement_rate < 1
    assert report.replacement_rate == pytest.approx(replaced / tokens)
    assert report.acceptance_rate == pytest.approx(1 - replaced / tokens)
    assert run(pair, problems(), accept_top_k=VOCAB).replacement_rate == 0


def test_scores_of_greedy_completions(pair, report):
    prompts = [row.prompt_ids for row in problems()]
    greedy = student_rollout(
        pair.student,
        prompts,
        max_new_tokens=LIMIT,
        policy=GREEDY,
        uniforms=torch.zeros(len(prompts), LIMIT),
        eos_token_ids=[EOS],
        vocab_size=VOCAB,
    )
    texts = [Letters().decode(r.completion_ids, skip_special_tokens=True) for r in greedy]
    scores = [Vowels().score(None, text) for text in texts]
    assert report.n == 9 and report.name == "start" and report.seconds > 0
    assert list(report.metrics) == ["has_vowel", "vowels"]
    for name, metric in report.metrics.items():
        values = [score[name] for score in scores]
        assert metric["value"] == pytest.approx(sum(values) / 9)
        assert min(values) <= metric["low"] < metric["value"] < metric["high"] <= max(values)
    assert report.completions == [
        {"id": f"p{i}", "text": text, "score": score["has_vowel"]}
        for i, (text, score) in enumerate(zip(texts, scores, strict=True))
    ]
    assert report.mean_length == sum(len(r.completion_ids) for r in greedy) / 9


def without_time(report):
    return dataclasses.replace(report, seconds=0.0)


def test_batch_size_and_gamma_change_cost_and_not_the_report(pair, report):
    other = run(pair, problems(), name="start", batch_size=100, gamma=2)
    assert other.kl_references == pytest.approx(report.kl_references, rel=1e-12)
    assert other.kl_samples == pytest.approx(report.kl_samples, rel=1e-12)
    assert other.nll_samples == pytest.approx(report.nll_samples, rel=1e-12)
    same = {"kl_references": 0.0, "kl_samples": 0.0, "nll_samples": 0.0, "seconds": 0.0}
    assert dataclasses.replace(other, **same) == dataclasses.replace(report, **same)


def test_a_student_equal_to_the_teacher_has_no_distance(pair):
    report = run(pair, problems(), student=pair.teacher)
    assert report.kl_references == pytest.approx(0, abs=1e-12)
    assert report.kl_samples == pytest.approx(0, abs=1e-12)
    assert pair.student is not pair.teacher
    assert run(pair, problems()).kl_samples > 0.1


def test_the_kl_is_forward_and_not_reverse(pair, report):
    swapped = SimpleNamespace(**{**vars(pair), "teacher": pair.student})
    reverse = run(swapped, problems(), student=pair.teacher).kl_references
    assert abs(reverse - report.kl_references) > 0.01 * report.kl_references


def test_modes_and_gradients_are_left_as_found(pair):
    student, teacher = pair.student, pair.teacher
    student.train()
    student.model.layers[0].eval()
    teacher.eval()
    found = [module.training for module in student.modules()]
    trained = run(pair, problems())
    assert [module.training for module in student.modules()] == found
    assert not any(module.training for module in teacher.modules())
    assert torch.is_grad_enabled()
    assert all(p.grad is None for p in [*student.parameters(), *teacher.parameters()])
    student.eval()
    assert without_time(trained) == without_time(run(pair, problems()))


def test_evaluation_runs_without_dropout(pair, report):
    student = tiny_model(0)
    student.model.layers[0].self_attn.attention_dropout = 0.5
    student.train()
    noisy = run(pair, problems(), student=student, name="start")
    assert without_time(noisy) == without_time(report)
    assert student.training


def test_limit_samples_uses_the_first_prompts(pair, report):
    limited, first = run(pair, problems(), limit_samples=3), run(pair, problems(3))
    assert limited.n == 9 and limited.metrics == report.metrics
    assert limited.kl_references == pytest.approx(report.kl_references)
    assert limited.kl_samples == pytest.approx(first.kl_samples)
    assert limited.kl_samples != pytest.approx(report.kl_samples)
    assert limited.replacement_rate == first.replacement_rate


def test_prompts_without_references_have_no_kl_on_them(pair, report):
    bare = run(pair, problems(references=False), name="start")
    assert math.isnan(bare.kl_references)
    assert bare.kl_samples == report.kl_samples
    # Some with, some without: those with count.
    mixed = run(pair, [*problems(3), *problems(references=False)[3:]])
    assert mixed.kl_references == pytest.approx(run(pair, problems(3)).kl_references)


def test_a_report_survives_json(pair, report):
    line = report.to_json()
    assert "\n" not in line and EvalReport.from_json(line) == report
    bare = run(pair, problems(references=False))
    assert json.loads(bare.to_json())["kl_references"] is None
    # A run's file may say more on the line, such as the step.
    more = json.dumps({"step": 3, **json.loads(bare.to_json())})
    back = EvalReport.from_json(more)
    assert math.isnan(back.kl_references) and back.metrics == bare.metrics


def test_a_model_alone_has_its_scores_and_nothing_else(pair, report):
    alone = evaluate_generator(
        pair.student, pair, Vowels(), problems(), max_new_tokens=LIMIT, seed=3, batch_size=4
    )
    assert (alone.metrics, alone.completions) == (report.metrics, report.completions)
    assert alone.mean_length == report.mean_length
    nothing = (alone.kl_references, alone.kl_samples, alone.replacement_rate, alone.acceptance_rate)
    assert all(map(math.isnan, nothing))


def test_what_cannot_be_evaluated_is_refused(pair):
    with pytest.raises(UsageError, match="no prompts are left"):
        run(pair, [])
    with pytest.raises(UsageError, match="batch_size must be at least 1, got 0"):
        run(pair, problems(2), batch_size=0)
    with pytest.raises(UsageError, match="limit_samples must be at least 1, got 0"):
        run(pair, problems(2), limit_samples=0)
    with pytest.raises(UsageError, match="max_new_tokens must be at least 1, got 0"):
        run(pair, problems(2), max_new_tokens=0)
    assert math.isnan(held_out_kl(pair.student, pair, []))
