"""The pairs, prompts and lengths that every variant of a benchmark is given.

Weights are random: what is measured is cost, not quality. The student's proposals then fall evenly
over the teacher's ranks, so a K of 0.9 times the vocabulary keeps nine of ten, as a trained pair's
small K does. End-of-turn ids lie outside the vocabulary, so that every text has the same length.
"""

from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from skd_lab.encode import Encoded, EncodeReport
from skd_lab.models import Pair
from skd_lab.tasks import Example

# a turn's text and nothing else: the number of tokens is the number of words
_TEMPLATE = "{% for turn in messages %}{{ turn['content'] + ' ' }}{% endfor %}"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Layers, width and heads of a Qwen3 model; its feed-forward part is three times as wide."""

    layers: int
    hidden: int
    heads: int
    key_value_heads: int
    head_dim: int


@dataclass(frozen=True, kw_only=True)
class Size:
    """One setting of a benchmark."""

    name: str
    student: Shape
    teacher: Shape
    vocabulary: int
    batch: int
    prompt: int
    """Tokens of every prompt."""
    new: int
    """Tokens of every completion."""

    @property
    def accept_top_k(self) -> int:
        """K at which nine of ten proposals of random models stand."""
        return round(0.9 * self.vocabulary)


def _shape(layers: int, hidden: int, head_dim: int = 64) -> Shape:
    heads = hidden // head_dim
    return Shape(
        layers=layers,
        hidden=hidden,
        heads=heads,
        key_value_heads=max(1, heads // 2),
        head_dim=head_dim,
    )


SIZES = {
    size.name: size
    for size in (
        Size(
            name="XS",  # for the tests of this harness
            student=_shape(1, 32, 16),
            teacher=_shape(2, 32, 16),
            vocabulary=64,
            batch=2,
            prompt=4,
            new=8,
        ),
        Size(
            name="S",
            student=_shape(4, 128, 32),
            teacher=_shape(6, 256, 32),
            vocabulary=512,
            batch=8,
            prompt=32,
            new=64,
        ),
        Size(
            name="M",
            student=_shape(6, 384),
            teacher=_shape(12, 768),
            vocabulary=32_000,
            batch=8,
            prompt=64,
            new=128,
        ),
    )
}


def make_model(shape: Shape, vocabulary: int, seed: int, context: int = 4096) -> Qwen3ForCausalLM:
    """A random Qwen3 in float32, in eval mode."""
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=3 * shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        head_dim=shape.head_dim,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(config).eval()


def make_tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """One word, one id: `w7` is 7. The end-of-turn id is one that no model can write."""
    words = {f"w{i}": i for i in range(vocabulary)} | {"<end>": vocabulary}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w1"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<end>",
        pad_token="w0",
        chat_template=_TEMPLATE,
        padding_side="left",
        model_max_length=4096,
    )


def make_pair(size: Size) -> Pair:
    """The same random pair for every variant."""
    return Pair(
        student=make_model(size.student, size.vocabulary, seed=0),
        teacher=make_model(size.teacher, size.vocabulary, seed=1),
        tokenizer=make_tokenizer(size.vocabulary),
        vocab_size=size.vocabulary,
        eos_token_ids=[],
        pad_token_id=0,
    )


def make_texts(size: Size, rows: int) -> tuple[list[list[int]], list[list[int]]]:
    """Random prompts and references, ids from 1."""
    generator = torch.Generator().manual_seed(2)
    length = size.prompt + size.new
    ids = torch.randint(1, size.vocabulary, (rows, length), generator=generator).tolist()
    return [row[: size.prompt] for row in ids], [row[size.prompt :] for row in ids]


def as_words(ids: list[int]) -> str:
    """Text that make_tokenizer turns into these ids."""
    return " ".join(f"w{i}" for i in ids)


def make_data(size: Size, rows: int) -> EncodeReport:
    """The texts as `train` takes them."""
    encoded = [
        Encoded(
            example=Example(id=str(row), prompt=as_words(prompt), reference=as_words(reference)),
            prompt_ids=prompt,
            reference_ids=reference,
        )
        for row, (prompt, reference) in enumerate(zip(*make_texts(size, rows), strict=True))
    ]
    return EncodeReport(encoded=encoded, cut=0, dropped=0, references_cut=0)
