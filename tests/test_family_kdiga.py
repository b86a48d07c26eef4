"""Input gradients: worked by hand, aligned, attacked; and attributions, their form for tokens."""

import pytest
import torch
import torch.nn.functional as F
from test_conformance import ANSWERS, PROMPTS, VOCAB
from tiny import tiny_model

from skd_lab.batch import collate, completion_hidden
from skd_lab.errors import UsageError
from skd_lab.family import attribution, digits, kdiga
from skd_lab.family.attacks import attack, harden, input_gradient
from skd_lab.losses import forward_kl, token_weights
from skd_lab.objectives import Objective, get_objective
from skd_lab.projection import Projection
from skd_lab.rollout import reference_rollout
from skd_lab.scored import Scored


def models():
    """A student and a teacher of float64 with a smooth body, and rows for them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        student, teacher = (
            torch.nn.Sequential(
                torch.nn.Linear(6, width), torch.nn.Tanh(), torch.nn.Linear(width, 3)
            ).double()
            for width in (4, 9)
        )
        x = torch.rand(5, 6, dtype=torch.float64)
    return student, teacher, x, torch.tensor([0, 2, 1, 1, 0])


def test_the_input_gradient_is_that_of_finite_differences_row_by_row():
    student, _, x, y = models()
    found, step = input_gradient(student, x, y), 1e-6
    for row in range(len(x)):
        for place in range(6):
            ends = []
            for side in (step, -step):
                moved = x[row : row + 1].clone()
                moved[0, place] += side
                ends.append(F.cross_entropy(student(moved), y[row : row + 1]).item())
            assert found[row, place].item() == pytest.approx(
                (ends[0] - ends[1]) / (2 * step), rel=1e-5, abs=1e-9
            )


def test_a_student_that_is_the_teacher_is_aligned():
    _, teacher, x, y = models()
    assert kdiga.alignment(teacher, teacher, x, y).item() == 0.0


def test_the_terms_gradient_is_that_of_finite_differences_and_the_teacher_has_none():
    student, teacher, x, y = models()
    kdiga.alignment(student, teacher, x, y).backward()
    weight = student[0].weight
    along = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)).double()
    ends = []
    for side in (1e-6, -1e-6):
        with torch.no_grad():
            weight += side * along
        ends.append(kdiga.alignment(student, teacher, x, y).item())
        with torch.no_grad():
            weight -= side * along
    by_hand = (ends[0] - ends[1]) / 2e-6
    assert (weight.grad * along).sum().item() == pytest.approx(by_hand, rel=1e-6)
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert x.grad is None and not x.requires_grad


def test_rows_do_not_see_each_other_and_batch_norm_is_refused():
    student, teacher, x, y = models()
    alone = [kdiga.alignment(student, teacher, x[i : i + 1], y[i : i + 1]) for i in range(5)]
    together = kdiga.alignment(student, teacher, x, y)
    torch.testing.assert_close(together, torch.stack(alone).mean())
    normed = torch.nn.Sequential(torch.nn.BatchNorm1d(6), torch.nn.Linear(6, 3)).double()
    with pytest.raises(UsageError, match="batch norm mixes the rows.*model.eval"):
        input_gradient(normed, x, y)
    assert input_gradient(normed.eval(), x, y).shape == x.shape


def test_an_attack_stays_in_its_bounds_and_finds_a_higher_loss():
    own, model = digits.data(0), digits.mlp(32, seed=1)
    x, y = own.train_x[:100], own.train_y[:100]
    digits.fit(model, x, lambda z: F.cross_entropy(z, y), steps=60)
    found = {}
    for restarts in (1, 4):
        generator = torch.Generator().manual_seed(0)
        moved = attack(model, x, y, steps=10, restarts=restarts, generator=generator)
        assert (moved - x).abs().max() <= 0.1 + 1e-6
        assert moved.min() >= 0 and moved.max() <= 1
        found[restarts] = F.cross_entropy(model(moved), y, reduction="none")
    before = F.cross_entropy(model(x), y, reduction="none")
    assert (found[1] > before).double().mean() > 0.95
    assert (found[4] >= found[1]).all()  # more starts from the same randomness
    generator = torch.Generator().manual_seed(0)
    still = attack(model, x, y, epsilon=0.0, generator=generator)
    assert torch.equal(still, x)


def test_an_attack_that_cannot_be_is_refused():
    student, _, x, y = models()
    for wrong in ({"epsilon": -0.1}, {"steps": 0}, {"restarts": 0}):
        with pytest.raises(UsageError, match="epsilon from 0 and a step and a start at least"):
            attack(student, x, y, generator=torch.Generator(), **wrong)


def test_a_robust_teacher_passes_its_robustness_on_and_a_natural_one_does_not(monkeypatch):
    monkeypatch.setattr(kdiga, "UPDATES", 150)
    own = digits.data(0)
    x, y = own.train_x[:300], own.train_y[:300]
    natural, robust = digits.mlp(48, seed=1), digits.mlp(48, seed=1)
    digits.fit(natural, x, lambda z: F.cross_entropy(z, y), steps=100)
    harden(robust, x, y, steps=80, inner=3, seed=0)
    found = {}
    for name, teacher, weight in (
        ("KD", robust, 0.0),
        ("KDIGA", robust, 1.0),
        ("natural", natural, 1.0),
    ):
        frozen = teacher.requires_grad_(False)
        student = kdiga.distil(frozen, kdiga._aligned, weight, x, y, seed=0)
        moved = attack(student, x, y, generator=torch.Generator().manual_seed(1))
        found[name] = float((student(moved).argmax(-1) == y).double().mean())
    assert found["KDIGA"] > found["KD"] + 0.05
    assert found["KDIGA"] > found["natural"] + 0.05


# attributions


def microbatch(student_seed=1, rows=range(3), architecture="qwen3"):
    student = tiny_model(architecture, seed=student_seed, vocab_size=VOCAB)
    teacher = tiny_model(architecture, seed=2, vocab_size=VOCAB, hidden_size=24)
    rollouts = reference_rollout([PROMPTS[i] for i in rows], [ANSWERS[i] for i in rows], [1])
    batch = collate(rollouts, pad_id=0)
    return Scored(
        batch=batch,
        weights=token_weights("mean_over_tokens", batch.lengths, sum(map(len, ANSWERS))),
        student=student,
        teacher=teacher.requires_grad_(False),
        student_hidden=completion_hidden(student, batch),
        student_head=Projection.of(student),
        teacher_hidden=completion_hidden(teacher, batch).detach(),
        teacher_head=Projection.of(teacher),
    )


@pytest.mark.parametrize("architecture", ["qwen3", "gemma3"])
def test_an_attribution_is_how_much_the_loss_moves_with_a_position(architecture):
    seen = microbatch(architecture=architecture)
    model, batch = seen.student, seen.batch
    found = attribution.attribution(model, seen.student_head, batch)
    norms = found.square().sum(-1)
    torch.testing.assert_close(norms, torch.ones_like(norms))
    row = 1
    width = int(batch.attention_mask[row].sum())
    # the last token of a row predicts nothing
    assert found[row, width - 1 :].abs().max() < 1e-9
    table = model.get_input_embeddings()
    inputs = table(batch.input_ids[row : row + 1, :width]).detach().requires_grad_()
    logits = model(inputs_embeds=inputs).logits[0]
    start = len(PROMPTS[row])
    loss = F.cross_entropy(logits[start - 1 : -1], torch.tensor(ANSWERS[row]), reduction="sum")
    lengths = torch.autograd.grad(loss, inputs)[0].norm(dim=-1)[0]
    torch.testing.assert_close(found[row, :width], lengths / lengths.norm(), rtol=1e-5, atol=1e-7)


def test_the_students_parameters_get_the_gradient_of_the_distance():
    seen = microbatch()
    for module in seen.student.modules():
        if type(module).__name__.endswith("RMSNorm"):  # those of transformers work in float32
            module.forward = lambda x, own=module: (
                own.weight * x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt()
            )
    attribution.distances(seen, trains=True).sum().backward()
    assert all(parameter.grad is None for parameter in seen.teacher.parameters())
    weight = seen.student.model.layers[0].mlp.up_proj.weight
    along = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)).double()
    ends = []
    for side in (1e-5, -1e-5):
        with torch.no_grad():
            weight += side * along
        ends.append(attribution.distances(seen).sum().item())
        with torch.no_grad():
            weight -= side * along
    by_hand = (ends[0] - ends[1]) / 2e-5
    assert abs(by_hand) > 1e-4
    assert (weight.grad * along).sum().item() == pytest.approx(by_hand, rel=1e-4)


def test_the_objective_is_forward_kl_and_its_share_of_the_distance():
    seen = microbatch()
    loss = get_objective("attribution", settings={"weight": 0.5}).of(seen)[0]
    plain = Objective(name="forward_kl", divergence=forward_kl).of(microbatch())[0]
    shares = seen.batch.lengths / sum(map(len, ANSWERS))
    wanted = plain + 0.5 * (shares * attribution.distances(seen)).sum()
    torch.testing.assert_close(loss, wanted, rtol=1e-9, atol=1e-9)


def test_microbatches_of_the_distance_add_up():
    objective = get_objective("attribution")
    whole = objective.of(microbatch())[0]
    parts = sum(objective.of(microbatch(rows=[row]))[0] for row in range(3))
    # rotary angles and norms are float32 inside the models
    torch.testing.assert_close(whole, parts, rtol=1e-5, atol=1e-6)


def test_the_student_learns_where_to_look():
    seen = microbatch()
    before = attribution.distances(seen).mean().item()
    optimizer = torch.optim.Adam(seen.student.parameters(), lr=1e-2)
    for _ in range(15):
        optimizer.zero_grad()
        attribution.distances(seen, trains=True).mean().backward()
        optimizer.step()
    assert attribution.distances(seen).mean().item() < 0.7 * before


def test_shuffled_attributions_keep_to_their_row(monkeypatch):
    seen, taken = [], []

    def planted(seed, objective, **_):
        scored = microbatch()
        if objective.on_batch is not None:
            taken.append(objective.on_batch.keywords["change"])
        seen.append(scored)
        return scored, None

    monkeypatch.setattr(attribution.trial, "run", planted)
    monkeypatch.setattr(attribution.trial, "held_out", lambda n: [])
    monkeypatch.setattr(attribution.trial, "scored_references", lambda pair, held: pair)
    monkeypatch.setattr(attribution.trial, "distances", lambda pair, held: {"nll": 0.0})
    rows = attribution.run(0, steps=1)
    assert [row["arm"] for row in rows] == list(attribution.ARMS)
    mask = seen[0].batch.attention_mask
    theirs = torch.arange(mask.numel()).view(mask.shape) * mask
    same, shuffled = (change(theirs, mask) for change in taken)
    assert torch.equal(same, theirs) and not torch.equal(shuffled, theirs)
    assert torch.equal(shuffled[~mask], theirs[~mask])
    assert torch.equal(shuffled.sort(-1).values, theirs.sort(-1).values)


def test_models_that_cannot_be_asked_are_refused(monkeypatch):
    with pytest.raises(UsageError, match="weight must be above 0, got 0. For none of it"):
        get_objective("attribution", settings={"weight": 0})
    seen = microbatch()
    seen.student.model.gradient_checkpointing = True
    with pytest.raises(UsageError, match="Leave --gradient-checkpointing out"):
        get_objective("attribution").of(seen)
    seen.student.model.gradient_checkpointing = False
    monkeypatch.setattr(seen.student, "get_input_embeddings", lambda: None)
    with pytest.raises(UsageError, match="has none or runs with"):
        get_objective("attribution").of(seen)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(UsageError, match="in one process only"):
        get_objective("attribution").of(seen)
