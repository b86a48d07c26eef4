"""Supervised fine-tuning on rows that hold several texts each, for models made from scratch.

Generated tasks differ in length, and padding to the longest of a batch would be half of the work.
A text sees nothing of its neighbours in the row: positions start again with every text, and
transformers cuts the attention there (masking_utils, packed sequences), sliding windows included.
The loss is that of the method sft: the mean cross-entropy of the completion tokens of a window.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn import functional
from tqdm.auto import tqdm
from transformers import PreTrainedModel, get_wsd_schedule

from skd_lab.encode import Encoded
from skd_lab.fields import PRECISION
from skd_lab.files import append_jsonl, disk_errors
from skd_lab.prepare import prompt_order

_SAVE_EVERY = 250
_WIDTH = 128
"""Of a row, at least: a few texts fill it well, and attention is cheap yet."""
Packed = tuple[Int[Tensor, "rows width"], Int[Tensor, "rows width"], Bool[Tensor, "rows width"]]
"""Ids, positions, and where the next id is one to learn."""


def pack(texts: Sequence[Encoded], pad_id: int) -> Packed:
    """Texts side by side, in rows of one width (first fit, longest first)."""
    by_length = sorted(texts, key=lambda text: -_length(text))
    width = max(_WIDTH, _length(by_length[0]))
    rows: list[list[Encoded]] = []
    room: list[int] = []
    for text in by_length:
        place = next((i for i, left in enumerate(room) if left >= _length(text)), len(rows))
        if place == len(rows):
            rows.append([])
            room.append(width)
        rows[place].append(text)
        room[place] -= _length(text)
    ids = torch.full((len(rows), width), pad_id)
    learn = torch.zeros((len(rows), width), dtype=torch.bool)
    positions = torch.zeros((len(rows), width), dtype=torch.long)
    for row, several in enumerate(rows):
        start = 0
        for text in several:
            end, answer = start + _length(text), start + len(text.prompt_ids)
            ids[row, start:end] = torch.tensor([*text.prompt_ids, *(text.reference_ids or [])])
            positions[row, start:end] = torch.arange(end - start)
            learn[row, answer - 1 : end - 1] = True
            start = end
        positions[row, start:] = torch.arange(width - start)  # what is left over is one more text
    return ids, positions, learn


def packed_loss(model: PreTrainedModel, packed: Packed) -> Tensor:
    """Mean cross-entropy in nats of the completion tokens."""
    ids, positions, learn = packed
    states = model.base_model(input_ids=ids, position_ids=positions, use_cache=False)[0]
    logits = model.get_output_embeddings()(states[learn])
    return functional.cross_entropy(logits.float(), ids[:, 1:][learn[:, :-1]])


def fit(
    model: PreTrainedModel,
    texts: Sequence[Encoded],
    run_dir: Path,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    warmup_steps: int,
    decay_steps: int | None = None,
    mixed_precision: PRECISION = "no",
    seed: int = 0,
    progress: bool = False,
) -> float:
    """Fine-tune a model on texts with references, in place, on the CPU.

    AdamW without weight decay, gradients cut to norm 1; the rate is warmed up, stays, and falls to
    nothing as a cosine over the last decay_steps updates (all that are left if None). Goes on from
    run_dir's checkpoint if there is one, update for update as if it had not stopped.

    Args:
        texts: with references; every epoch in an order of its own, by the seed.
        run_dir: losses and checkpoint.

    Returns:
        CPU seconds of all updates.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=learning_rate, weight_decay=0.0, fused=True
    )
    down = steps - warmup_steps if decay_steps is None else decay_steps
    schedule = get_wsd_schedule(
        optimizer, warmup_steps, down, num_training_steps=steps, decay_type="cosine"
    )
    checkpoint, pad = run_dir / "checkpoint.pt", model.config.pad_token_id
    done, seconds = 0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        done, seconds = saved["done"], saved["seconds"]
    model.train()
    bar = tqdm(
        total=steps, initial=done, unit="update", disable=not progress,
        mininterval=0.1 if sys.stderr.isatty() else 30,
    )  # fmt: skip
    while done < steps:
        began = time.process_time()
        visits = range(done * batch_size, (done + 1) * batch_size)
        window = [texts[i] for i in prompt_order(len(texts), visits, seed)]
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed_precision == "bf16"):
            loss = packed_loss(model, pack(window, pad))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        done += 1
        seconds += time.process_time() - began
        bar.update()
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
        if done % 20 == 0 or done == steps:
            append_jsonl(run_dir / "losses.jsonl", {"step": done, "loss": loss.item()})
        if done % _SAVE_EVERY == 0 or done == steps:
            state = {
                "model": model.state_dict(), "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(), "done": done, "seconds": seconds,
            }  # fmt: skip
            with disk_errors(checkpoint):
                torch.save(state, temporary := checkpoint.with_suffix(".tmp"))
                temporary.replace(checkpoint)
    bar.close()
    model.eval()
    return seconds


def _length(text: Encoded) -> int:
    return len(text.prompt_ids) + len(text.reference_ids or [])
