"""The habits of published checkpoints, rebuilt by hand: no Hub can be reached in tests.

The ids of control tokens and of the few words below, the sizes of vocabularies, the settings of
generation and what the templates do are those of Qwen2.5, Qwen3, Gemma 2 and Gemma 3 as published,
written down by hand from memory and from other projects' copies, not loaded. All other ids are
fillers, and the templates' texts are our own, without tools. tests/test_quirks.py compares them
with the copies of the originals that TRL ships, where that is installed.
"""

import functools
import json
from pathlib import Path

import torch
from tiny import tiny_model
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, processors
from tokenizers import pre_tokenizers as pre
from transformers import PreTrainedModel, PreTrainedTokenizerFast

QWEN_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN_WORDS = {"ĊĊ": 271, "user": 872, "system": 8948, "Hello": 9707, "assistant": 77091}
# from id 151643 on; the second half are no special tokens, and yet the template writes some of them
QWEN_SPECIAL = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>"),
    *("<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>"),
    *("<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
]
QWEN_PLAIN = [
    *("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"),
    *("<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"),
]
QWEN3_PLAIN = ["<tool_response>", "</tool_response>", "<think>", "</think>"]

QWEN25_TEMPLATE = (
    "{% set told = messages[0].role == 'system' %}"
    "{{ '<|im_start|>system\n' + (messages[0].content if told else 'You are Qwen, created by "
    "Alibaba Cloud. You are a helpful assistant.') + '<|im_end|>\n' }}"
    "{% for m in (messages[1:] if told else messages) %}"
    "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN3_TEMPLATE = (
    "{% set asked = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}"
    "{% set asked.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% set seen = namespace(thoughts='', answer=m.content) %}"
    "{% if m.role == 'assistant' %}{% if m.reasoning_content is string %}"
    "{% set seen.thoughts = m.reasoning_content %}{% elif '</think>' in m.content %}"
    "{% set parts = m.content.split('</think>') %}{% set seen.answer = parts[-1].lstrip('\n') %}"
    "{% set seen.thoughts = parts[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}{% endif %}"
    "{% if loop.index0 > asked.last and loop.last %}"
    "{{ '<think>\n' + seen.thoughts.strip('\n') + '\n</think>\n\n' }}"
    "{% set seen.answer = seen.answer.lstrip('\n') %}{% endif %}{% endif %}"
    "{{ seen.answer + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
_GEMMA_TURNS = (
    "{% for m in turns %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/...') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' }}"
    "{{ (opening if loop.first else '') + m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
GEMMA2_TEMPLATE = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% set turns = messages %}{% set opening = '' %}" + _GEMMA_TURNS
)
GEMMA3_TEMPLATE = (
    "{{ bos_token }}{% set told = messages[0].role == 'system' %}"
    "{% set turns = messages[1:] if told else messages %}"
    "{% set opening = messages[0].content + '\n\n' if told else '' %}" + _GEMMA_TURNS
)

GENERATION = {
    "qwen2.5": dict(
        bos_token_id=151643, pad_token_id=151643, eos_token_id=[151645, 151643], do_sample=True,
        repetition_penalty=1.1, temperature=0.7, top_p=0.8, top_k=20,
    ),
    "qwen3": dict(
        bos_token_id=151643, pad_token_id=151643, eos_token_id=[151645, 151643], do_sample=True,
        temperature=0.6, top_p=0.95, top_k=20,
    ),
    # Gemma 2 was published with <eos> alone, though its turns end with <end_of_turn>
    "gemma2": dict(bos_token_id=2, pad_token_id=0, eos_token_id=1, cache_implementation="hybrid"),
    "gemma3": dict(
        bos_token_id=2, pad_token_id=0, eos_token_id=[1, 106], do_sample=True, top_p=0.95,
        top_k=64, cache_implementation="hybrid",
    ),
}  # fmt: skip
"""generation_config.json by family."""


@functools.cache
def qwen_tokenizer(version: str) -> PreTrainedTokenizerFast:
    """Qwen's tokenizer in small: 151,665 ids ("qwen2.5") or 151,669 ("qwen3")."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]
    vocab = _filled({letter: i for i, letter in enumerate(letters)} | QWEN_WORDS, 151_643)
    core = Tokenizer(models.BPE(vocab, [], ignore_merges=True))
    core.pre_tokenizer = pre.Sequence(
        [
            pre.Split(Regex(QWEN_PIECES), "isolated"),
            pre.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(token, special=True) for token in QWEN_SPECIAL])
    plain = QWEN_PLAIN + (QWEN3_PLAIN if version == "qwen3" else [])
    core.add_tokens([AddedToken(token, normalized=False, special=False) for token in plain])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=QWEN3_TEMPLATE if version == "qwen3" else QWEN25_TEMPLATE,
    )


@functools.cache
def gemma_tokenizer(version: str) -> PreTrainedTokenizerFast:
    """Gemma's tokenizer in small: 256,000 ids ("gemma2"), or 262,145 ("gemma3") of which the last
    stands for pictures and has no row in the models that read text alone."""
    third = version == "gemma3"
    start = 105 if third else 106
    known = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3}
    known |= {"<start_of_turn>": start, "<end_of_turn>": start + 1, "\n": start + 2}
    known |= {"\n\n": start + 3, "user": 2364 if third else 1645, "model": 4368 if third else 2516}
    known |= {f"<0x{byte:02X}>": 300 + byte for byte in range(256)}
    known |= {letter: 600 + i for i, letter in enumerate("▁Habcdefghijklmnopqrstuvwxyz.,?!")}
    known |= {"Hello": 9259 if third else 4521}
    # not ignore_merges: it would find a user's "<bos>" among the words
    merges = [
        (word[:i], word[i]) for word in ("Hello", "user", "model") for i in range(1, len(word))
    ]
    known |= {
        left + right: 700 + i for i, (left, right) in enumerate(merges) if left + right not in known
    }
    vocab = _filled(known, 262_144 if third else 256_000)
    core = Tokenizer(models.BPE(vocab, merges, byte_fallback=True, unk_token="<unk>"))
    core.normalizer = normalizers.Replace(" ", "▁")
    core.pre_tokenizer = pre.Split("▁", "merged_with_next")
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    core.add_special_tokens(
        [AddedToken(token, normalized=False, special=True) for token in special]
    )
    # line ends are added tokens of Gemma, and no special ones
    core.add_tokens([AddedToken(token, normalized=False) for token in ("\n", "\n\n")])
    if third:
        core.add_special_tokens([AddedToken("<image_soft_token>", special=True)])
    core.post_processor = processors.TemplateProcessing("<bos> $A", special_tokens=[("<bos>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        chat_template=GEMMA3_TEMPLATE if third else GEMMA2_TEMPLATE,
    )


def _filled(known: dict[str, int], size: int) -> dict[str, int]:
    taken = set(known.values())
    return known | {f"filler {i} ": i for i in range(size) if i not in taken}


def tokenizer_of(family: str) -> PreTrainedTokenizerFast:
    """The tokenizer of a family of GENERATION."""
    return (gemma_tokenizer if family.startswith("gemma") else qwen_tokenizer)(family)


def write_checkpoint(
    folder: Path, family: str, *, width: int, seed: int = 0, **config: object
) -> Path:
    """A folder as the Hub has them: a tiny random model of the published vocabulary's width.

    Args:
        family: of GENERATION.
        width: rows of the embedding.
    """
    architecture = "qwen2" if family == "qwen2.5" else family
    model = tiny_model(
        architecture, seed=seed, vocab_size=width, dtype=torch.float32, bos_token_id=None, **config
    )
    save(model, folder, family)
    return folder


def save(model: PreTrainedModel, folder: Path, family: str) -> None:
    """The model and its family's tokenizer and generation_config.json."""
    model.save_pretrained(folder)
    tokenizer_of(family).save_pretrained(folder)
    text = json.dumps(GENERATION[family])
    (folder / "generation_config.json").write_text(text, encoding="utf-8")
