"""Loading a student and a teacher that can work together, and saying so in one readable report.

Ids are what the two models share: the tokenizers' id maps are compared here, once, and logits
are cut to the shared real ids everywhere else, so no other room sees padded ids.
"""

import logging
from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from skd_lab.bundle import BUNDLED as BUNDLED
from skd_lab.bundle import bundled_folders
from skd_lab.bundle import bundled_pairs as bundled_pairs
from skd_lab.cache import supports_rollback
from skd_lab.errors import SkdError, TokenizerMismatchError, UsageError
from skd_lab.loading import attention_reason, load_model, load_tokenizer
from skd_lab.projection import Projection
from skd_lab.templates import ChatTemplate

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Pair:
    """A student, a teacher, and the ids they share."""

    student: PreTrainedModel
    teacher: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    vocab_size: int
    """Shared real ids: logits are cut to the first so many."""
    eos_token_ids: list[int]
    """Ids that end a completion, from both models' generation configs and the tokenizer."""
    pad_token_id: int
    names: dict[str, str] = field(default_factory=dict)
    """Where "student" and "teacher" came from."""
    can_roll_back: bool = True
    """False if a state of either model cannot be rolled back; drafts are then one token long."""
    report: str = ""
    """What was loaded, for a person to read."""


def load_pair(
    name: str | None = None,
    *,
    start: str | None = None,
    student: str | Path | None = None,
    teacher: str | Path | None = None,
    dtype: str = "float32",
    device: str | None = None,
    teacher_dtype: str | None = None,
    student_quantised: str = "no",
    teacher_quantised: str = "no",
) -> Pair:
    """Load a bundled pair by name, or a student and a teacher from folders or Hub ids.

    Args:
        name: a bundled pair; see bundled_pairs().
        start: another student of the bundled pair than its own; see bundled_starts().
        student: folder or Hub id; replaces the bundled pair's student where both are given.
        teacher: likewise.
        dtype: of the weights: float32, bfloat16, float16 or float64.
        device: cpu, cuda, mps ...; the best there is if None.
        teacher_dtype: of the teacher's weights; as the student's if None.
        student_quantised: "no", "4bit" or "8bit" (bitsandbytes).
        teacher_quantised: likewise.

    Raises:
        UsageError: for an unknown name, a folder without weights, a Hub id that is not at hand,
            or a model that cannot be used here.
        SkdError: if the weights hold numbers that are not finite.
        TokenizerMismatchError: if the two tokenizers give an id different meanings.
    """
    student, teacher = places(name, student, teacher, start)
    names = {"student": _short(student), "teacher": _short(teacher)}
    tokenizer, theirs = load_tokenizer(student), load_tokenizer(teacher)
    pair = make_pair(
        vocab_size=shared_vocab_size(tokenizer, theirs, names),
        student=load_model(student, dtype=dtype, device=device, quantised=student_quantised),
        teacher=load_model(
            teacher, dtype=teacher_dtype or dtype, device=device, quantised=teacher_quantised
        ),
        tokenizer=tokenizer,
        names=names,
    )
    if tokenizer.chat_template and theirs.chat_template != tokenizer.chat_template:
        pair.report += (
            "\nchat        the teacher's own template differs: the student's is used for both"
        )
    _log.info(pair.report)
    return pair


def places(
    name: str | None,
    student: str | Path | None = None,
    teacher: str | Path | None = None,
    start: str | None = None,
) -> tuple[str | Path, str | Path]:
    """Where a pair's student and teacher lie: folders or Hub ids.

    Args:
        name: a bundled pair.
        student: replaces the bundled pair's.
        teacher: likewise.
        start: another student of the bundled pair; see bundled_starts().

    Raises:
        UsageError: for an unknown name, or if one of the two is not named.
    """
    if name is not None:
        folders = bundled_folders(name, start)
        student, teacher = student or folders[0], teacher or folders[1]
    if student is None or teacher is None:
        raise UsageError(
            "A pair is a student and a teacher: name both by folder or Hub id, or a bundled pair "
            f"({', '.join(bundled_pairs())})."
        )
    return student, teacher


def make_pair(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    vocab_size: int | None = None,
    names: dict[str, str] | None = None,
) -> Pair:
    """A pair of models already in hand that use one tokenizer.

    Args:
        vocab_size: shared real ids; the tokenizer's length if None.

    Raises:
        UsageError: if a model's logits are not what its output head makes of its hidden states.
    """
    widths = [model.config.get_text_config().vocab_size for model in (student, teacher)]
    shared = min(vocab_size or len(tokenizer), *widths)
    eos: set[int] = set() if tokenizer.eos_token_id is None else {tokenizer.eos_token_id}
    if tokenizer.chat_template:
        eos |= set(ChatTemplate(tokenizer).turn_ends())
    names = names or {"student": "student", "teacher": "teacher"}
    for role, model in (("student", student), ("teacher", teacher)):
        _check_head(model, names[role])
        listed = model.generation_config.eos_token_id if model.generation_config else None
        eos |= set(listed if isinstance(listed, list) else [] if listed is None else [listed])
    eos_ids = sorted(token for token in eos if token < shared)
    pad = tokenizer.pad_token_id
    pair = Pair(
        student=student,
        teacher=teacher,
        tokenizer=tokenizer,
        vocab_size=shared,
        eos_token_ids=eos_ids,
        pad_token_id=pad if pad is not None and pad < shared else (eos_ids or [0])[0],
        names=names,
        can_roll_back=supports_rollback(student.config) and supports_rollback(teacher.config),
    )
    pair.report = _report(pair, widths)
    return pair


def shared_vocab_size(
    student: PreTrainedTokenizerBase, teacher: PreTrainedTokenizerBase, names: dict[str, str]
) -> int:
    """How many ids, from 0 on, mean the same to both tokenizers.

    One may know more tokens at its end (as later Qwen tokenizers do): they are cut off.

    Raises:
        TokenizerMismatchError: if an id that both have means different things; names both
            tokenizers, their sizes and the first such id.
    """
    tokens = [{i: token for token, i in t.get_vocab().items()} for t in (student, teacher)]
    shared = min(max(known) + 1 for known in tokens)
    for i in range(shared):
        mine, theirs = tokens[0].get(i), tokens[1].get(i)
        if mine != theirs:
            raise TokenizerMismatchError(
                f"The tokenizers of {names['student']} ({len(tokens[0])} tokens) and "
                f"{names['teacher']} ({len(tokens[1])} tokens) differ: id {i} is {mine!r} to the "
                f"student and {theirs!r} to the teacher. The teacher could not judge a proposal; "
                "choose two models of one family."
            )
    return shared


def _check_head(model: PreTrainedModel, name: str) -> None:
    """The loss projects hidden states itself; that must be what the model does."""
    vocab = model.config.get_text_config().vocab_size
    probe = torch.arange(1, 5, device=model.device)[None] % vocab
    training = model.training
    model.eval()
    with torch.no_grad():
        out = model(input_ids=probe, output_hidden_states=True, use_cache=False)
        made = Projection.of(model).logits(out.hidden_states[-1])
    model.train(training)
    wanted = out.logits.to(made)
    if not torch.isfinite(wanted).all():
        raise SkdError(
            f"The logits of {name} hold nan or infinite values, so its weights do too, or overflow "
            f"in {model.dtype}. Go back to an earlier checkpoint, or try another --dtype."
        )
    tolerance = 1e-3 if wanted.dtype != torch.float32 or model.dtype == torch.float32 else 2e-2
    error = float((made - wanted).abs().max())
    if not torch.allclose(made, wanted, rtol=tolerance, atol=tolerance * float(wanted.abs().max())):
        raise UsageError(
            f"{name} ({type(model).__name__}) does something to its logits that skd_lab does not "
            f"know: they differ by {error:.3g} from its output head applied to its "
            "last hidden states. This model cannot be trained here."
        )


def _report(pair: Pair, widths: list[int]) -> str:
    lines = [
        _describe("student", pair.student, pair.names["student"]),
        _describe("teacher", pair.teacher, pair.names["teacher"]),
    ]
    padding = (
        ""
        if set(widths) == {pair.vocab_size}
        else f"; logits are cut to these (student {widths[0]:,}, teacher {widths[1]:,}), and the "
        "ids beyond are never drawn"
    )
    lines.append(f"vocabulary  {pair.vocab_size:,} ids shared{padding}")
    stops = ", ".join(
        f"{pair.tokenizer.convert_ids_to_tokens(token)} ({token})" for token in pair.eos_token_ids
    )
    lines.append(f"stops at    {stops or 'nothing: completions end at max_new_tokens'}")
    if not pair.tokenizer.chat_template:
        lines.append("chat        no chat template: only plain prompts can be used")
    elif ChatTemplate(pair.tokenizer).has_switch:
        lines.append("chat        answers without thinking, unless --thinking is given")
    reasons = [attention_reason(model.config) for model in (pair.student, pair.teacher)]
    lines.append(f"attention   {'; teacher '.join(dict.fromkeys(reasons))}")
    if pair.teacher.dtype in (torch.bfloat16, torch.float16):
        lines.append(
            "precision   proposals are judged on float32 of the teacher's 16-bit logits, and that "
            "is recorded: a later forward over the whole text may differ at a near tie"
        )
    if not pair.can_roll_back:
        lines.append("drafts      a state here cannot be rolled back, so gamma is 1")
    return "\n".join(lines)


def _describe(role: str, model: PreTrainedModel, name: str) -> str:
    text = model.config.get_text_config()
    size = sum(parameter.numel() for parameter in model.parameters())
    window = getattr(text, "sliding_window", None)
    kinds = getattr(text, "layer_types", None)
    sliding = window and (kinds is None or "sliding_attention" in kinds)
    return (
        f"{role:<11} {name}: {type(model).__name__}, {size / 1e6:,.2f}M parameters, "
        f"{text.num_hidden_layers} layers, context {getattr(text, 'max_position_embeddings', 0):,}"
        + (f", window {window:,}" if sliding else "")
        + f", {_bits(model)}, {text._attn_implementation} attention, {model.device}"
    )


def _bits(model: PreTrainedModel) -> str:
    dtype = str(model.dtype).removeprefix("torch.")
    few = getattr(model.config, "quantization_config", None)
    if not getattr(model, "is_quantized", False) or few is None:
        return dtype
    known = few if isinstance(few, dict) else few.to_dict()
    how = [f"{bits} bits" for bits in (4, 8) if known.get(f"load_in_{bits}bit")]
    return f"{(how or ['quantised'])[0]} and {dtype}"


def _short(at: str | Path) -> str:
    """A name for records: no absolute path of the user's machine."""
    path = Path(at)
    if not path.is_absolute():
        return str(at)
    if path.is_relative_to(BUNDLED):
        return str(path.relative_to(BUNDLED))
    return path.name
