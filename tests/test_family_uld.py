"""A teacher with another tokenizer: what is compared, where, and a run by command."""

import json

import pytest
import torch
from test_conformance import VOCAB, logits
from test_methods import request
from tiny import tiny_model

from skd_lab.batch import collate, completion_hidden
from skd_lab.cli import main
from skd_lab.config import RunConfig
from skd_lab.errors import TokenizerMismatchError, UsageError
from skd_lab.family import uld
from skd_lab.losses import total_variation
from skd_lab.methods import METHODS
from skd_lab.models import BUNDLED, load_pair
from skd_lab.objectives import OBJECTIVES, get_objective
from skd_lab.tokenizer import train_tokenizer

TEXTS = ["the meeting is on friday at nine", "anna brings the cake for the party", "see you then"]


def probabilities(seed):
    return torch.softmax(logits(seed), -1)


def test_sizes_are_compared_and_names_are_not():
    q, p = probabilities(1), probabilities(0)
    permuted = p[:, torch.randperm(VOCAB, generator=torch.Generator().manual_seed(0))]
    assert uld.sorted_distance(permuted, p).abs().max() < 1e-15
    assert total_variation(permuted.log(), p.log()).min() > 0.01
    apart = uld.sorted_distance(q, p)
    assert (apart > 0).all() and (apart <= 2 * total_variation(q.log(), p.log()) + 1e-12).all()


def test_the_smaller_vocabulary_is_padded():
    q = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    p = torch.tensor([[0.25, 0.5, 0.25]], dtype=torch.float64)
    assert uld.sorted_distance(q, p).item() == uld.sorted_distance(p, q).item() == 0.5


def test_tokens_of_one_name_are_compared_by_name():
    q, p = probabilities(1), probabilities(0)
    names = torch.arange(4)
    assert uld.named_distance(p, p, names, names).abs().max() < 1e-12
    swapped = p.clone()
    swapped[:, [0, 1]] = p[:, [1, 0]]
    assert uld.sorted_distance(swapped, p).abs().max() < 1e-15
    assert uld.named_distance(swapped, p, names, names).min() > 1e-6
    # what is not known by name may be permuted
    others = p.clone()
    others[:, [10, 11]] = p[:, [11, 10]]
    assert uld.named_distance(others, p, names, names).abs().max() < 1e-12
    assert torch.isfinite(uld.named_distance(q, p, torch.arange(0), torch.arange(0))).all()


def test_gradients_of_both_distances_are_those_of_their_values():
    p = probabilities(0)[:3]
    for distance in (
        uld.sorted_distance,
        lambda q, p: uld.named_distance(q, p, torch.arange(4), torch.arange(4)),
    ):
        z = logits(1)[:3].requires_grad_()
        assert torch.autograd.gradcheck(lambda z: distance(torch.softmax(z, -1), p).sum(), (z,))  # noqa: B023


def test_places_with_the_same_text_in_front():
    mine, theirs = ["un", "believ", "able", "!"], ["unbe", "liev", "able", "!", ""]
    assert uld.same_places(mine, theirs) == [(0, 0), (2, 2), (3, 3)]
    assert uld.same_places(["a", ""], ["a", ""]) == [(0, 0), (1, 1)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The bundled student, and a teacher of 300 ids that spells otherwise."""
    other = train_tokenizer(TEXTS, vocab_size=300)
    teacher = tiny_model("qwen3", seed=5, vocab_size=len(other), dtype=torch.float32,
                         max_position_embeddings=2048)  # fmt: skip
    folder = tmp_path_factory.mktemp("teacher")
    teacher.save_pretrained(folder)
    other.save_pretrained(folder)
    return BUNDLED / "tiny-qwen3" / "student", folder


def cross(folders, **changes):
    settings = dict(student=str(folders[0]), teacher=str(folders[1]), trace_prompts=0, device="cpu")
    return RunConfig(method="uld", **(settings | changes))


def test_states_stand_where_both_texts_are_the_same_so_far(folders):
    pair = uld.load_two(cross(folders))
    mine, theirs = uld.tokenizers_of(pair.teacher)
    assert pair.vocab_size == len(mine) > len(theirs)
    prompt, answer = (mine.encode(text) for text in TEXTS[:2])
    answer.append(pair.eos_token_ids[0])
    (rollout,) = uld.retokenised(
        request(teacher=pair.teacher, prompt_ids=[prompt], reference_ids=[answer],
                eos_token_ids=pair.eos_token_ids, rows=[0], mixing=[0.0])
    )  # fmt: skip
    assert rollout.completion_ids.tolist() == answer
    there = ~rollout.teacher_hidden.isnan().any(-1)
    assert there[0] and there[-1] and 2 <= there.sum() <= len(answer)
    # the same forward by hand, at the start of the answer and at its end
    read, written = (theirs.encode(text) for text in TEXTS[:2])
    ids = torch.tensor([[*read, *written]])
    states = pair.teacher(ids, output_hidden_states=True).hidden_states[-1][0]
    torch.testing.assert_close(rollout.teacher_hidden[0], states[len(read) - 1])
    torch.testing.assert_close(rollout.teacher_hidden[-1], states[-1])


def test_a_token_that_ends_inside_a_character_adds_it_later():
    tokenizer = train_tokenizer(["abc"], vocab_size=259)
    ids = tokenizer.encode("aéb")
    pieces = uld._pieces(tokenizer, ids)
    assert len(ids) == 4 and "".join(pieces) == "aéb" and pieces[1] == ""


@pytest.mark.parametrize("settings", ["weight=1.5", "by_name=1"])
def test_a_pair_with_two_tokenizers_is_distilled_by_command(folders, tmp_path, settings):
    with pytest.raises(TokenizerMismatchError):
        load_pair(student=folders[0], teacher=folders[1], device="cpu")
    command = "train --method uld --task summaries --n-prompts 4 --steps 2 --batch-size 4 --quiet "
    command += "--learning-rate 1e-3 --max-new-tokens 32 --trace-prompts 0 --device cpu"
    models = ["--student", str(folders[0]), "--teacher", str(folders[1])]
    run = ["--run-dir", str(tmp_path / "run"), "--settings", settings]
    assert main([*command.split(), *models, *run]) == 0
    lines = (tmp_path / "run" / "steps.jsonl").read_text().splitlines()
    # cross-entropy on known references is near 0: what is left is the distance
    assert len(lines) == 2 and all(0.1 < json.loads(line)["loss"] < 4 for line in lines)


def test_what_such_a_teacher_cannot_do_is_refused(folders):
    with pytest.raises(UsageError, match="--trace-prompts is 2, but the two tokenizers differ"):
        uld.load_two(cross(folders, trace_prompts=2))
    assert uld.load_two(RunConfig(method="uld", pair="tiny-qwen3", device="cpu")).vocab_size == 1024
    with pytest.raises(UsageError, match="by_name 0 or 1, got 1.5 and 2"):
        get_objective("uld", settings={"by_name": 2})
    assert not METHODS["on_policy_kd"].takes("uld")


def test_objectives_that_compare_ids_by_number_do_not_join_two_tokenizers():
    joining = [name for name, row in OBJECTIVES.items() if row.joins]
    assert [name for name in joining if METHODS["uld"].takes(name)] == ["uld"]
    assert METHODS["supervised_kd"].takes("correlation")
    with pytest.raises(UsageError, match="not defined with objective"):
        METHODS["uld"].objective_name("correlation")


def test_one_tokenizer_gives_what_the_plain_way_gives():
    pair = uld.load_two(RunConfig(method="uld", pair="tiny-qwen3", device="cpu"))
    prompt, answer = (pair.tokenizer.encode(text) for text in TEXTS[:2])
    answer.append(pair.eos_token_ids[0])
    (rollout,) = uld.retokenised(
        request(teacher=pair.teacher, prompt_ids=[prompt], reference_ids=[answer],
                eos_token_ids=pair.eos_token_ids, rows=[0], mixing=[0.0])
    )  # fmt: skip
    plain = completion_hidden(pair.teacher, collate([rollout], 0))
    torch.testing.assert_close(rollout.teacher_hidden, plain, rtol=1e-4, atol=1e-5)
