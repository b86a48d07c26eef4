"""DistiLLM: skewed divergences, a replay buffer, a share of student text that grows when it must.

Ko et al. 2024 (arXiv 2402.03898) and its public code. Student text costs sampling, so texts are
kept and used again; and it can mislead an early student, so its share starts at 0 and rises only
when the validation loss does.
"""

import dataclasses
from typing import Any

import torch

from skd_lab.errors import UsageError
from skd_lab.family.card import Card, register_card
from skd_lab.methods import Method, register
from skd_lab.records import STUDENT, Rollout
from skd_lab.rollout import reference_rollout
from skd_lab.sources import SOURCES, RolloutRequest
from skd_lab.sources import register as register_source

SETTINGS = {"capacity": 1000, "fresh": 0.5, "rise": 0.1, "fixed_share": 0.5}
"""Texts kept; of the student's texts, how many are drawn anew; how far the validation loss has to
rise (nats) for the share to rise by 0.1; the share in a run that is not evaluated on the way."""


def adapt(state: dict[str, Any], loss: float | None, rise: float) -> float:
    """The share of student text before it fades; `state` holds it with the last loss it saw.

    Starts at 0 and goes up by 0.1, to 1 at most, whenever the validation loss is more than `rise`
    above the one before.
    """
    share, last = state.get("share", 0.0), state.get("loss")
    if loss is not None and loss != last:
        if last is not None and loss > last + rise:
            share = min(1.0, share + 0.1)
        state.update(share=share, loss=loss)
    return share


def replayed(request: RolloutRequest) -> list[Rollout]:
    """References, and in their place more and more of the student's texts, new ones and old ones.

    A text out of the buffer brings its own prompt along.
    """
    settings = request.settings
    if settings["capacity"] < 1 or not 0 < settings["fresh"] <= 1:
        raise UsageError(
            f"capacity must be at least 1 and fresh in (0, 1], got {settings['capacity']:g} and "
            f"{settings['fresh']:g}. A buffer without new texts stays empty."
        )
    state = request.memory.setdefault("distillm", {"buffer": []})
    watched = request.memory.get("kl_references")
    share = settings["fixed_share"]
    if watched is not None:
        share = adapt(state, watched, settings["rise"])
    share *= 1 - request.progress
    places: dict[str, list[int]] = {"reference": [], "new": [], "old": []}
    for place, number in enumerate(request.mixing):
        new = number < share * settings["fresh"] or not state["buffer"]
        who = "reference" if number >= share else "new" if new else "old"
        places[who].append(place)
    written: dict[int, Rollout] = {}
    for who, source in (("reference", "reference"), ("new", "student")):
        if places[who]:
            made = SOURCES[source](request.only(places[who]))
            written |= dict(zip(places[who], made, strict=True))
    kept = list(state["buffer"])
    for place in places["old"]:
        # what is left of the number is uniform again
        within = (request.mixing[place] / share - settings["fresh"]) / (1 - settings["fresh"])
        prompt, ids = kept[min(int(within * len(kept)), len(kept) - 1)]
        written[place] = _again(prompt, ids, request)
    for place in places["new"]:
        rollout = written[place]
        state["buffer"].append([list(rollout.prompt_ids), rollout.completion_ids.tolist()])
    del state["buffer"][: -int(settings["capacity"])]
    return [written[place] for place in range(len(request.rows))]


def _again(prompt: list[int], ids: list[int], request: RolloutRequest) -> Rollout:
    (rollout,) = reference_rollout([prompt], [torch.tensor(ids)], request.eos_token_ids)
    trace = dataclasses.replace(rollout.trace, source=[STUDENT] * len(ids))
    return dataclasses.replace(rollout, trace=trace)


register_source("replayed", replayed)
register(
    Method(
        name="distillm",
        completions=("reference", "replayed"),
        turns="per_prompt",
        second_share=1.0,  # the second source hands out the references itself
        objectives=("skewed_reverse_kl", "skewed_forward_kl"),
        settings=SETTINGS,
        source="after Ko et al. 2024",
        summary="References, and as the validation loss asks for it the student's texts from a "
        "replay buffer; skewed KL.",
    )
)
register_card(
    Card(
        name="distillm",
        group="neighbour",
        title="DistiLLM: skewed KL and a replay buffer",
        paper="Ko, Kim, Chen, Yun 2024, arXiv 2402.03898",
        sentences=(
            "Skewing mixes a tenth of one distribution into the other, so that the divergence is "
            "bounded by 2.30 nats; student texts are kept and used again.",
            "Both want student text without its early noise: DistiLLM waits until it is needed, "
            "SKD has the teacher mend it as it is written.",
        ),
        equation=r"KL(q \,\|\, (1-\lambda) p + \lambda q) \le -\log\lambda,\quad \lambda = 0.1",
        statement="The share of student text starts at 0, rises by 0.1 when the validation loss "
        "rises by 0.1, and fades with the run.",
        control="supervised_kd with the same divergence: no student text at all",
        choices=(
            "the validation loss is KL(teacher || student) on references, of --eval-every; without "
            "evaluations the share begins at 0.5",
            "half of the student's texts are new, half come out of the buffer",
            "the code's skewed forward KL leaves out the teacher's entropy and is not 0 for equal "
            "models; ours is",
        ),
        command="skd-lab train --method distillm --eval-every 25",
    )
)
