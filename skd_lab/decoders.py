"""Decoders for other ways to run: states that only go forward, steps of one fixed shape."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from skd_lab.cache import RecurrentCache, supports_rollback
from skd_lab.decode import Decoder


class RecurrentDecoder(Decoder):
    """For models whose state cannot be rolled back: one kept token a step, never a draft.

    All rows take a step together, left-padded, in the framework's own cache.
    """

    def _start(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> None:
        self._states = RecurrentCache(self.model.config)
        longest = max(len(prompt) for prompt in prompts)
        gaps = torch.tensor([longest - len(prompt) for prompt in prompts], device=self.device)
        self._mask = torch.arange(longest, device=self.device) >= gaps[:, None]
        self._prompts: Tensor | None = torch.tensor(
            [[*[0] * (longest - len(p)), *p] for p in prompts], device=self.device
        )

    def feed(
        self,
        ids: Int[Tensor, "rows fed"],
        first_position: Int[Tensor, " rows"],
        furthest: int | None = None,
    ) -> tuple[Float[Tensor, "rows fed vocab"], Float[Tensor, "rows fed hidden"] | None]:
        """Feed each row's next kept token; the first call feeds the whole prompts.

        (So that no row is ever fed as nothing but padding, as a prompt of 1 token would be.)
        """
        assert ids.shape[1] == 1, "a state that cannot be rolled back takes one token a step"
        if self._prompts is not None:
            ids, self._prompts = self._prompts, None
        else:
            self._mask = torch.cat([self._mask, torch.ones_like(self._mask[:, :1])], dim=1)
        positions = (self._mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        logits, hidden = self._call(
            ids, positions, self._mask.long(), self._states.states, 1, self.keep_hidden
        )
        return logits, hidden[:, -1:] if hidden is not None else None

    def select_rows(self, rows: Int[Tensor, " kept"]) -> None:
        """Keep these rows only: the others have finished and leave."""
        self._states.select_rows(rows)
        self._mask = self._mask[rows]


class StaticDecoder(Decoder):
    """Every step of so many tokens has one shape, whatever rows have left and how far texts are.

    So the device's work can be recorded once and replayed, without Python between its kernels.
    Rows that leave are computed on, unread; attention goes over the whole capacity, masked. For
    batches whose rows end at about the same time.
    """

    def _start(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> None:
        super()._start(prompts, max_new_tokens)
        self._rows = torch.arange(len(prompts), device=self.device)
        self._steps: dict[int, _Step] = {}

    def feed(
        self,
        ids: Int[Tensor, "rows fed"],
        first_position: Int[Tensor, " rows"],
        furthest: int | None = None,
    ) -> tuple[Float[Tensor, "rows fed vocab"], Float[Tensor, "rows fed hidden"] | None]:
        """As Decoder.feed; `furthest` is not needed."""
        fed = ids.shape[1]
        positions = first_position[:, None] + torch.arange(fed, device=self.device)
        positions = torch.minimum(positions, self._last_position[self._rows, None])
        if fed not in self._steps:
            shape = (len(self._last_position), fed)
            self._steps[fed] = _Step(
                lambda ids, positions: self._forward(ids, positions, self._end + 1),
                ids.new_zeros(shape),
                # rows that have left since write where nobody reads
                self._last_position[:, None].repeat(1, fed),
            )
        logits, hidden = self._steps[fed](ids, positions, self._rows)
        return logits, hidden

    def select_rows(self, rows: Int[Tensor, " kept"]) -> None:
        """Read these rows only from now on."""
        self._rows = self._rows[rows]


Seen = tuple[Tensor, Tensor | None]
"""Logits, and states if they were asked for."""


class _Step:
    """A forward of fixed tensors; recorded at its first use and replayed, if the device can.

    Args:
        forward: (ids, positions) -> logits, states.
        ids: of all rows; filled before every run.
        positions: likewise.
    """

    def __init__(
        self, forward: Callable[[Tensor, Tensor], Seen], ids: Tensor, positions: Tensor
    ) -> None:
        self._run = lambda: forward(ids, positions)
        self._ids, self._positions = ids, positions
        self._recorded: tuple[Callable[[], None], Seen] | None = None

    def __call__(self, ids: Tensor, positions: Tensor, rows: Tensor) -> Seen:
        self._ids[rows], self._positions[rows] = ids, positions
        recorder = RECORDERS.get(ids.device.type)
        if recorder is None:
            logits, hidden = self._run()
        else:
            self._recorded = self._recorded or recorder(self._run)
            replay, (logits, hidden) = self._recorded
            replay()
        # copies: the next replay writes over what these show
        return logits[rows], None if hidden is None else hidden[rows]


def _cuda_graph(run: Callable[[], Seen]) -> tuple[Callable[[], None], Seen]:
    # libraries set themselves up in first runs, which must not be recorded; to feed the same
    # tokens to the same positions again changes nothing
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        seen = run()
    return graph.replay, seen


RECORDERS: dict[str, Callable[[Callable[[], Seen]], tuple[Callable[[], None], Seen]]] = {
    "cuda": _cuda_graph
}
"""By type of device: from a function to what repeats it, and to where its results then stand."""


def make_decoder(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    vocab_size: int | None = None,
    keep_hidden: bool = False,
) -> Decoder:
    """The decoder that fits the model: by position, or for states that cannot be rolled back."""
    by_position = StaticDecoder if Decoder.static else Decoder
    fitting = by_position if supports_rollback(model.config) else RecurrentDecoder
    return fitting(
        model,
        prompts,
        max_new_tokens=max_new_tokens,
        vocab_size=vocab_size,
        keep_hidden=keep_hidden,
    )
