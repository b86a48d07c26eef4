"""The ledger of a batch of rollouts: what each row has kept so far, and which rows go on."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from skd_lab.decode import Decoder
from skd_lab.records import STUDENT, TEACHER, Rollout, TokenTrace


class Ledger:
    """What was kept so far, a row a prompt; becomes the rollouts.

    Args:
        prompts: id lists.
        max_new_tokens: length limit of every row.
        eos_token_ids: a kept token among these ends its row.
        first_row: global number of the first row.
        device: where the models' outputs lie.
    """

    def __init__(
        self,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
        eos_token_ids: Sequence[int],
        first_row: int,
        device: torch.device,
    ) -> None:
        self.prompts, self.first_row, self.device = prompts, first_row, device
        self.limit = max_new_tokens
        self.eos = torch.tensor(sorted(set(eos_token_ids)), dtype=torch.long, device=device)
        # one place more than is read: what lies beyond the limit of a row is written there
        shape = (len(prompts), max_new_tokens + 1)
        self.length = torch.zeros(len(prompts), dtype=torch.long, device=device)
        self.prompt_length = torch.tensor([len(p) for p in prompts], device=device)
        self.last = torch.tensor([p[-1] for p in prompts], device=device)
        self.active = torch.arange(len(prompts), device=device)
        self.finished = torch.zeros(len(prompts), dtype=torch.bool, device=device)
        self.columns: dict[str, Tensor] = {
            "kept_id": torch.full(shape, -1, device=device),
            "proposed_id": torch.full(shape, -1, device=device),
            "teacher_rank": torch.zeros(shape, dtype=torch.long, device=device),
            "block": torch.full(shape, -1, device=device),
            "student_log_prob": torch.full(shape, float("nan"), device=device),
            "teacher_log_prob": torch.full(shape, float("nan"), device=device),
            "by_teacher": torch.zeros(shape, dtype=torch.bool, device=device),
        }
        self.teacher_hidden: Tensor | None = None
        empty: list[list[int]] = [[]] * max_new_tokens
        self._discarded = [list(empty) for _ in prompts]
        self._thrown: list[tuple[Tensor, ...]] = []  # not looked at before they are asked for
        self._look()

    def is_eos(self, ids: Int[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
        """Where ids are among the eos ids."""
        return torch.isin(ids, self.eos)

    def position(self) -> Int[Tensor, " active"]:
        """Position of each active row's last kept token, the one to be fed next."""
        return self.prompt_length[self.active] + self.length[self.active] - 1

    def remaining(self) -> Int[Tensor, " active"]:
        """Tokens each active row may still take."""
        return self.limit - self.length[self.active]

    def write(
        self,
        count: Int[Tensor, " active"],
        teacher_hidden: Float[Tensor, "active width hidden"] | None = None,
        **columns: Tensor,
    ) -> None:
        """Keep the first count tokens of each active row's block; stop rows that are done.

        Args:
            count: tokens to keep, between 1 and the width.
            teacher_hidden: the teacher's last hidden states that judged the block.
            columns: [active, width] by name; must hold kept_id.
        """
        kept = columns["kept_id"]
        # the whole block is written, as choosing would mean to wait for the device: what is not
        # kept is overwritten by the next block, or lies behind the row's end
        places = self.length[self.active][:, None]
        if kept.shape[1] > 1:
            steps = torch.arange(kept.shape[1], device=self.device)
            places = (places + steps).clamp(max=self.limit)
        where = self.active[:, None], places
        for name, values in columns.items():
            self.columns[name].index_put_(where, values.to(self.columns[name].dtype))
        if teacher_hidden is not None:
            if self.teacher_hidden is None:
                shape = (len(self.prompts), self.limit + 1, teacher_hidden.shape[-1])
                self.teacher_hidden = teacher_hidden.new_zeros(shape)
            self.teacher_hidden.index_put_(where, teacher_hidden)
        newest = kept.gather(1, count[:, None] - 1).squeeze(1)
        self.last[self.active] = newest
        self.length[self.active] += count
        self.finished[self.active] = self.is_eos(newest)

    def leave(self, decoders: Sequence[Decoder]) -> bool:
        """Take the rows that are done out of the batch; True while any row goes on."""
        going = ~self.finished[self.active] & (self.remaining() > 0)
        if not going.all():
            self.active = self.active[going]
            for decoder in decoders if len(self.active) > 0 else ():
                decoder.select_rows(going.nonzero().squeeze(1))
        if len(self.active) > 0:
            self._look()
        return len(self.active) > 0

    def throw(
        self,
        proposals: Int[Tensor, "active width"],
        count: Int[Tensor, " active"],
        drafted: Int[Tensor, " active"],
    ) -> None:
        """Remember the proposals behind the last kept one; to be called before write.

        Args:
            proposals: of the block.
            count: tokens that will be kept.
            drafted: proposals that were made, the others being padding.
        """
        self._thrown.append((self.active, self.length[self.active], count, drafted, proposals))

    def discarded(self) -> list[list[list[int]]]:
        """Of every row and place, the proposals thrown away behind it."""
        for block in self._thrown:
            active, length, count, drafted, proposals = (column.tolist() for column in block)
            for row, start, kept, made, ids in zip(
                active, length, count, drafted, proposals, strict=True
            ):
                if made > kept:
                    self._discarded[row][start + kept - 1] = ids[kept:made]
        self._thrown.clear()
        return self._discarded

    def _look(self) -> None:
        """What the next block must know of the active rows before it begins, as plain numbers."""
        remaining, position = torch.stack([self.remaining(), self.position()]).amax(dim=1).tolist()
        self.most_remaining: int = remaining
        self.furthest: int = position

    def rollouts(self) -> list[Rollout]:
        """The finished rows as records, on the CPU but for the hidden states."""
        columns = {name: values.cpu() for name, values in self.columns.items()}
        lengths, finished = self.length.tolist(), self.finished.tolist()
        discarded = self.discarded()
        rollouts = []
        for row, (prompt, length) in enumerate(zip(self.prompts, lengths, strict=True)):
            own = {name: values[row, :length].clone() for name, values in columns.items()}
            by_teacher = own.pop("by_teacher").tolist()
            trace = TokenTrace(
                source=[TEACHER if teacher else STUDENT for teacher in by_teacher],
                discarded=discarded[row][:length],
                **own,
            )
            hidden = self.teacher_hidden[row, :length] if self.teacher_hidden is not None else None
            rollouts.append(
                Rollout(
                    prompt_ids=list(prompt),
                    completion_ids=own["kept_id"].clone(),
                    trace=trace,
                    finished=finished[row],
                    row=self.first_row + row,
                    teacher_hidden=hidden,
                )
            )
        return rollouts
