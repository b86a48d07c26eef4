"""A language of 32 tokens whose truth is known, with a teacher and students that train in seconds.

An order-2 Markov source has soft next-token distributions (about 2.7 nats), so that the order of
the likely tokens matters; the texts of the bundled pairs leave hardly any choice.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skd_lab.batch import Batch
from skd_lab.losses import forward_kl, reverse_kl
from skd_lab.objectives import Objective
from skd_lab.projection import Projection, chunked_nll
from skd_lab.scored import Scored

VOCAB, TEACHER_WIDTH, STUDENT_WIDTH = 32, 256, 48
BATCH = 256


@dataclass(frozen=True)
class Source:
    """The language: next[a, b] is the distribution behind the tokens a, b."""

    next: Tensor
    """[vocab, vocab, vocab], probabilities."""

    def text(self, tokens: int, generator: torch.Generator) -> Tensor:
        """A text of so many tokens."""
        cumulative = self.next.cumsum(-1)
        draws = torch.rand(tokens, generator=generator, dtype=torch.float64)
        ids = [0, 1]
        for draw in draws:
            row = cumulative[ids[-2], ids[-1]]
            ids.append(min(int(torch.searchsorted(row, draw * row[-1], right=True)), VOCAB - 1))
        return torch.tensor(ids[2:])


class Predictor(nn.Module):
    """Two embedded tokens to the next one: hidden states, and a head for them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCAB, 16)
        self.body = nn.Linear(32, width)
        self.head = nn.Linear(width, VOCAB)

    def forward(self, pairs: Tensor) -> Tensor:
        """[n, 2] ids to [n, width] states."""
        return F.gelu(self.body(self.embed(pairs).flatten(1)))

    @property
    def projection(self) -> Projection:
        """Its head, as the objectives take it."""
        return Projection(self.head.weight, self.head.bias)

    def log_probs(self, pairs: Tensor) -> Tensor:
        """[n, vocab] log-probabilities."""
        return torch.log_softmax(self.projection.logits(self(pairs)), -1)


def predictor(width: int, seed: int) -> Predictor:
    """A new one; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Predictor(width)


@functools.lru_cache(maxsize=8)
def lab(seed: int, tokens: int = 60_000, steps: int = 900) -> tuple[Source, Tensor, Predictor]:
    """The source, a training text a tenth as long as the teacher's, and the trained teacher.

    Args:
        tokens: of the text that the teacher is trained on.
        steps: of its training.
    """
    generator = torch.Generator().manual_seed(1000 + seed)
    rough = torch.randn(VOCAB, VOCAB, VOCAB, generator=generator, dtype=torch.float64)
    by_last = torch.randn(1, VOCAB, VOCAB, generator=generator, dtype=torch.float64)
    source = Source(torch.softmax(0.9 * rough + 1.1 * by_last, -1))
    teacher = predictor(TEACHER_WIDTH, seed)
    train(teacher, source.text(tokens, generator), seed=seed, steps=steps)
    return source, source.text(tokens // 10, generator), teacher.requires_grad_(False)


def windows(text: Tensor) -> tuple[Tensor, Tensor]:
    """[n, 2] contexts and [n] next tokens."""
    return torch.stack([text[:-2], text[1:-1]], 1), text[2:]


def train(
    model: Predictor,
    text: Tensor,
    *,
    seed: int,
    steps: int,
    objective: Objective | None = None,
    teacher: Predictor | None = None,
    rate: float = 3e-3,
    of_teacher: Callable[[Tensor], Tensor] = lambda logits: logits,
) -> Predictor:
    """Train on random windows of a text; by cross-entropy without an objective.

    Args:
        of_teacher: changes the teacher's logits, for a control.
    """
    contexts, targets = windows(text)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    generator = torch.Generator().manual_seed(seed)
    weights = torch.full((BATCH,), 1 / BATCH, dtype=torch.float64)
    eye = Projection(torch.eye(VOCAB))
    for step in range(steps):
        chosen = torch.randint(len(targets), (BATCH,), generator=generator)
        hidden, ids = model(contexts[chosen]), targets[chosen]
        if objective is None or not objective.asks_teacher:
            loss = chunked_nll(hidden, model.projection, ids, weights)[0]
        else:
            assert teacher is not None
            with torch.no_grad():
                logits = of_teacher(teacher.projection.logits(teacher(contexts[chosen])))
            scored = Scored(
                batch=batch_of(contexts[chosen], ids),
                weights=weights,
                student=model,  # type: ignore[arg-type]
                teacher=teacher,  # type: ignore[arg-type]
                student_hidden=hidden,
                student_head=model.projection,
                teacher_hidden=logits,
                teacher_head=eye,
                memory={"progress": step / steps},
            )
            loss = objective.of(scored)[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def batch_of(contexts: Tensor, ids: Tensor) -> Batch:
    """Every window as a prompt of two tokens with a completion of one."""
    mask = torch.ones(len(ids), 3, dtype=torch.bool)
    return Batch(
        input_ids=torch.cat([contexts, ids[:, None]], 1),
        attention_mask=mask,
        completion_mask=mask & torch.tensor([False, False, True]),
        lengths=torch.ones(len(ids), dtype=torch.long),
        writers=("reference",) * len(ids),
    )


@torch.no_grad()
def distances(student: Predictor, teacher: Predictor, source: Source) -> dict[str, float]:
    """Against the truth and the teacher, as means over all 1,024 contexts, equally likely.

    Returns:
        true_nll, kl_forward, kl_reverse, entropy (nats), spearman (over all ids, against the
        teacher), top1 (share of contexts with the teacher's first id).
    """
    places = torch.cartesian_prod(torch.arange(VOCAB), torch.arange(VOCAB))
    mine, theirs = student.log_probs(places).double(), teacher.log_probs(places).double()
    truth = source.next.reshape(-1, VOCAB)
    ranks = [x.argsort(-1).argsort(-1).double() for x in (mine, theirs)]
    ranks = [rank - rank.mean(-1, keepdim=True) for rank in ranks]
    spearman = (ranks[0] * ranks[1]).sum(-1) / (ranks[0].norm(dim=-1) * ranks[1].norm(dim=-1))
    found = {
        "true_nll": -(truth * mine).sum(-1),
        "kl_forward": forward_kl(mine, theirs),
        "kl_reverse": reverse_kl(mine, theirs),
        "entropy": -(mine.exp() * mine).sum(-1),
        "spearman": spearman,
        "top1": (mine.argmax(-1) == theirs.argmax(-1)).double(),
    }
    return {name: float(numbers.mean()) for name, numbers in found.items()}
