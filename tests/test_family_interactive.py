"""IKD for a language model: its module learns from exams, the student from the course alone."""

import copy

import pytest
import torch
from tiny import tiny_model

from skd_lab.batch import collate, completion_hidden
from skd_lab.errors import UsageError
from skd_lab.family import ikd_text, interactive
from skd_lab.family.okd import OnlineTeacher
from skd_lab.losses import forward_kl, token_weights
from skd_lab.objectives import Objective, get_objective
from skd_lab.projection import Projection
from skd_lab.rollout import reference_rollout
from skd_lab.scored import Scored

RATE = 0.5


VOCAB = 12
PROMPTS = [[5, 6, 7], [9, 2], [3, 4], [8, 8, 3, 4]]
ANSWERS = [[8, 2, 1], [9, 4, 4, 6, 1], [7, 1], [5, 6, 1]]
QUIZ = torch.tensor([False, True, False, True])


def microbatch(memory=None, architecture="qwen3", rows=range(4)):
    student = tiny_model(architecture, seed=1, vocab_size=VOCAB)
    teacher = tiny_model(architecture, seed=2, vocab_size=VOCAB, hidden_size=24)
    rollouts = reference_rollout([PROMPTS[i] for i in rows], [ANSWERS[i] for i in rows], [1])
    batch = collate(rollouts, pad_id=0)
    return Scored(
        batch=batch,
        weights=token_weights("mean_over_tokens", batch.lengths),
        student=student,
        teacher=teacher.requires_grad_(False),
        student_hidden=completion_hidden(student, batch),
        student_head=Projection.of(student),
        teacher_hidden=completion_hidden(teacher, batch).detach(),
        teacher_head=Projection.of(teacher),
        memory={} if memory is None else memory,
    )


@pytest.fixture
def half(monkeypatch):
    """The second and the fourth prompt are the quiz."""
    monkeypatch.setattr(interactive, "in_quiz", lambda batch, share: QUIZ[: len(batch.lengths)])


@pytest.mark.parametrize("architecture", ["qwen3", "gemma2", "llama"])
def test_the_students_own_parameters_give_its_own_distribution(architecture):
    seen = microbatch(architecture=architecture)
    own = dict(seen.student.named_parameters())
    wanted = torch.log_softmax(seen.student_head.logits(seen.student_hidden), -1)
    found = interactive.log_probs(seen.student, own, seen.batch, VOCAB)
    torch.testing.assert_close(found, wanted)
    moved = {name: value * 1.1 for name, value in own.items()}
    other = interactive.log_probs(seen.student, moved, seen.batch, VOCAB)
    with torch.no_grad():
        for value in own.values():
            value *= 1.1
    hidden = completion_hidden(seen.student, seen.batch)
    torch.testing.assert_close(other, torch.log_softmax(seen.student_head.logits(hidden), -1))


def in_float64(norm):
    """The forward of a norm that does not work in float32 inside, as those of transformers do."""
    return lambda x: norm.weight * x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt()


def test_the_modules_gradient_is_that_of_finite_differences():
    seen = microbatch()
    for module in seen.student.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = in_float64(module)
    online = OnlineTeacher(24, VOCAB, rank=2, rate=1e-3, like=seen.teacher_hidden)
    with torch.no_grad():
        online.up.normal_(generator=torch.Generator().manual_seed(0))

    def result():
        return interactive.module_gradient(seen, online, QUIZ, virtual_rate=RATE)

    found, _ = result()
    for part, slope in zip((online.down, online.up), found, strict=True):
        along = torch.randn(part.shape, generator=torch.Generator().manual_seed(1)).double()
        ends = []
        for side in (1e-5, -1e-5):
            with torch.no_grad():
                part += side * along
            ends.append(float(result()[1]))
            with torch.no_grad():
                part -= side * along
        by_hand = (ends[0] - ends[1]) / 2e-5
        assert float((slope * along).sum()) == pytest.approx(by_hand, rel=1e-5)
        assert abs(by_hand) > 1e-2


def test_only_the_course_teaches_and_only_the_module_sits_the_exam(half):
    seen = microbatch()
    before = copy.deepcopy(seen.teacher.state_dict())
    seen.student_hidden.retain_grad()
    get_objective("interactive_teacher", settings={"rate": 1e-2}).of(seen)[0].backward()
    silent = seen.student_hidden.grad.abs().sum(-1) == 0
    assert torch.equal(silent, QUIZ[seen.rows()])
    assert all(
        torch.equal(before[name], value) for name, value in seen.teacher.state_dict().items()
    )
    assert all(parameter.grad is None for parameter in seen.teacher.parameters())
    assert seen.memory["ikd"]["up"].abs().max() > 0


def test_exams_get_better_from_update_to_update(half):
    memory, results = {}, []
    for _ in range(12):
        seen = microbatch(memory)
        get_objective("interactive_teacher", settings={"rate": 3e-2}).of(seen)
        online = OnlineTeacher(24, VOCAB, rank=4, rate=1e-3, like=seen.teacher_hidden)
        online.load(memory["ikd"])
        results.append(float(interactive.module_gradient(seen, online, QUIZ, virtual_rate=RATE)[1]))
    assert results[-1] < results[0]


def test_a_microbatch_without_a_quiz_is_forward_kl(monkeypatch):
    seen, plain = microbatch(), microbatch()
    monkeypatch.setattr(interactive, "in_quiz", lambda batch, share: torch.zeros(4).bool())
    loss = get_objective("interactive_teacher").of(seen)[0]
    wanted = Objective(name="forward_kl", divergence=forward_kl).of(plain)[0]
    torch.testing.assert_close(loss, wanted)
    assert "ikd" not in seen.memory


def test_dropout_is_off_in_an_exam_and_back_on_after_it(half):
    seen = microbatch()
    seen.student.train()
    get_objective("interactive_teacher").of(seen)
    assert all(module.training for module in seen.student.modules())


def test_a_prompt_is_in_the_quiz_or_not_whatever_stands_behind_it():
    prompts = [[a, b] for a in range(20) for b in range(20)]

    def drawn(answer):
        rollouts = reference_rollout(prompts, [answer] * len(prompts), [1])
        return interactive.in_quiz(collate(rollouts, pad_id=0), 0.25)

    once = drawn([3, 1])
    assert torch.equal(once, drawn([4, 5, 6, 1]))
    assert 0.18 < once.double().mean() < 0.32


def test_the_memory_is_saved_and_goes_on_exactly(half, tmp_path):
    memory = {}
    get_objective("interactive_teacher").of(microbatch(memory))
    torch.save(memory, tmp_path / "memory.pt")
    again = torch.load(tmp_path / "memory.pt", weights_only=True)
    losses = [get_objective("interactive_teacher").of(microbatch(m))[0] for m in (memory, again)]
    assert losses[0].item() == losses[1].item()
    assert torch.equal(memory["ikd"]["up"], again["ikd"]["up"])


def test_what_cannot_sit_an_exam_is_refused(monkeypatch):
    for settings, said in [
        ({"quiz": 0}, r"quiz must be in \(0, 1\), got 0.*forward_kl"),
        ({"quiz": 1}, "no course without other prompts"),
        ({"rank": 0}, "whole number from 1, got 0"),
        ({"virtual_rate": 0}, "must be above 0, got 0.001, 0"),
    ]:
        with pytest.raises(UsageError, match=said):
            get_objective("interactive_teacher", settings=settings)
    seen = microbatch()
    monkeypatch.setattr(interactive, "LARGEST", 100)
    with pytest.raises(UsageError, match="for tiny models: the student trains .* 100 at most"):
        get_objective("interactive_teacher").of(seen)
    monkeypatch.undo()
    seen.student.model.gradient_checkpointing = True
    with pytest.raises(UsageError, match="Leave --gradient-checkpointing out"):
        get_objective("interactive_teacher").of(seen)
    seen.student.model.gradient_checkpointing = False
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(UsageError, match="in one process only"):
        get_objective("interactive_teacher").of(seen)


# measured on text: a damaged teacher


def test_the_damage_is_of_low_rank_and_leaves_the_teacher_itself():
    seen = microbatch()
    before = copy.deepcopy(seen.teacher.state_dict())
    wrong = ikd_text.damaged(seen, seed=3)
    apart = wrong.teacher_head.weight - seen.teacher_head.weight
    assert torch.linalg.matrix_rank(apart) == ikd_text.RANK
    assert torch.equal(wrong.teacher_head.weight, ikd_text.damaged(seen, 3).teacher_head.weight)
    assert not torch.equal(wrong.teacher_head.weight, ikd_text.damaged(seen, 4).teacher_head.weight)
    assert all(
        torch.equal(before[name], value) for name, value in seen.teacher.state_dict().items()
    )
    none = ikd_text.damaged(seen, 3, size=0.0)
    assert torch.equal(none.teacher_head.weight, seen.teacher_head.weight)


@pytest.mark.parametrize("arm", ikd_text.ARMS)
def test_no_arm_teaches_the_student_on_the_quiz(half, arm):
    seen = microbatch()
    seen.student_hidden.retain_grad()
    loss, _, _ = ikd_text.ARMS[arm](seen)
    loss.backward()
    silent = seen.student_hidden.grad.abs().sum(-1) == 0
    assert torch.equal(silent, QUIZ[seen.rows()])
    assert ("ikd" in seen.memory) == (arm != "frozen teacher")


def test_the_control_lowers_the_quiz_own_cross_entropy(half):
    memory, found = {}, []
    for _ in range(15):
        seen = ikd_text.damaged(microbatch(memory), seed=0)
        ikd_text.tuned(seen)
        base = torch.log_softmax(seen.teacher_head.logits(seen.teacher_hidden), -1)
        moved = ikd_text.module_of(seen).log_probs(base, seen.teacher_hidden)
        own = -moved.gather(-1, seen.ids[:, None])[QUIZ[seen.rows()]]
        found.append(float(own.mean().detach()))
    assert found[-1] < found[0] - 0.05


def test_a_row_an_arm_with_the_run_s_own_module_measured(monkeypatch, half):
    def planted(seed, objective, **_):
        scored = microbatch({})
        objective.of(scored)
        return scored, None

    monkeypatch.setattr(ikd_text.trial, "run", planted)
    monkeypatch.setattr(ikd_text.trial, "held_out", lambda n: [])
    monkeypatch.setattr(ikd_text.trial, "scored_references", lambda pair, held: microbatch({}))
    monkeypatch.setattr(ikd_text.trial, "distances", lambda pair, held: {"nll": 1.0})
    rows = ikd_text.run(0, steps=1)
    assert [row["arm"] for row in rows] == list(ikd_text.ARMS)
    nll = [row["teacher_nll"] for row in rows]
    assert len(set(nll)) == 3  # the module of one arm is not in another
