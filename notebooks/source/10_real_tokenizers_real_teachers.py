# %% [markdown]
# # 10 Real tokenizers, real teachers
#
# **Does a real student with a real teacher fit on your GPU, and what do these models do that small ones do not?**
#
# _About 30 minutes._
#
# After this notebook you can
# - say from seven numbers what a run needs of a GPU's memory, and where adapters help;
# - start a recipe for Qwen or Gemma, and read its dry run;
# - recognise what trips up real pairs: padded vocabularies, chat templates, thinking, several ends.
#
# **What is real here.** Shapes, vocabularies and recipes are those of published models. Weights are not: no real
# Qwen or Gemma has been run with these recipes yet, so nothing below shows one. What you see token by
# token is a recorded run of a bundled pair, and says so. On a GPU with a model hub in reach the last cell
# writes a real one.

# %%
# SETUP

# %% [markdown]
# ## What lies on the card
# A model's kind and seven numbers of its `config.json` decide how large it is. Here they are for six published
# models. Choose a pair, and what is trained.

# %%
from skd_lab.course import bars, check, explore, figure, real_models_available, token_cells

GIB = 2**30
COLUMNS = ("kind", "width", "wide", "layers", "heads", "groups", "head", "rows")
SHAPES = {  # rows: of the embedding, one for each token
    "Qwen2.5-0.5B": ("qwen2", 896, 4_864, 24, 14, 2, 64, 151_936),
    "Qwen2.5-1.5B": ("qwen2", 1_536, 8_960, 28, 12, 2, 128, 151_936),
    "Qwen3-0.6B": ("qwen3", 1_024, 3_072, 28, 16, 8, 128, 151_936),
    "Qwen3-1.7B": ("qwen3", 2_048, 6_144, 28, 16, 8, 128, 151_936),
    "Gemma3-270M": ("gemma3_text", 640, 2_048, 18, 4, 1, 256, 262_144),
    "Gemma3-1B": ("gemma3_text", 1_152, 6_912, 26, 4, 1, 256, 262_144),
}
PAIRS = {"Qwen3": list(SHAPES)[2:4], "Qwen2.5": list(SHAPES)[:2], "Gemma 3": list(SHAPES)[4:]}
CARDS = {"T4": 14.6, "L4": 22.0, "H100": 79.0}  # GiB that such a card really has


def projections(name):
    """(in, out) of the seven matrices of a layer."""
    n = dict(zip(COLUMNS, SHAPES[name], strict=True))
    asked, kept = n["heads"] * n["head"], n["groups"] * n["head"]
    attention = [(n["width"], asked), (n["width"], kept), (n["width"], kept), (asked, n["width"])]
    return attention + [(n["width"], n["wide"])] * 2 + [(n["wide"], n["width"])]


def parameters(name):
    """Every number of the model: embedding, matrices, and a few vectors a layer."""
    n = dict(zip(COLUMNS, SHAPES[name], strict=True))
    matrices = projections(name)
    layer = sum(a * b for a, b in matrices)
    if n["kind"] == "qwen2":  # a bias behind queries, keys and values
        layer += sum(b for _, b in matrices[:3])
    else:  # queries and keys are normalised
        layer += 2 * n["head"]
    layer += (4 if n["kind"] == "gemma3_text" else 2) * n["width"]
    return n["rows"] * n["width"] + n["layers"] * layer + n["width"]


# %%
def adapters(name, rank=16):
    """Two thin matrices beside each of the seven: in x rank and rank x out."""
    layers = SHAPES[name][COLUMNS.index("layers")]
    return layers * sum(rank * (a + b) for a, b in projections(name))


def on_the_card(pair, trained):
    student, teacher = PAIRS[pair]
    whole, thin = parameters(student), adapters(student)
    count = whole if trained == "all weights" else thin
    held = {
        "teacher": 2 * parameters(teacher),
        "student": 4 * whole + (4 * thin if count == thin else 0),
        "gradients": 4 * count,
        "AdamW": 8 * count,
    }
    total = sum(held.values()) / GIB
    left = [f"{card} {room - total:.1f}" for card, room in CARDS.items()]
    said = f"<p>{student} and {teacher}: {total:.1f} GiB before the first text is written. "
    said += f"Left for texts, in GiB: {', '.join(left)}.</p>"
    return bars({part: size / GIB for part, size in held.items()}, title="GiB", top=8) + said


explore(
    on_the_card,
    "What is there all the time, from the shapes alone: the teacher in 16 bits; the student's "
    "weights and gradients in 32, and AdamW's two means. Adapters do away with two of the bars.",
    pair=list(PAIRS),
    trained=["all weights", "adapters of rank 16"],
)

# %% [markdown]
# ## By hand
# Count one matrix on paper: Qwen3-0.6B turns 1,024 numbers into the queries of 16 heads of 128 each, so its
# first matrix has 1,024 x 2,048 numbers. The rest is adding up. The library's models say whether it is right: they
# are built here on torch's *meta* device, which keeps shapes and no numbers.

# %%
import torch
from transformers import AutoConfig, AutoModelForCausalLM

LONG = {"width": "hidden_size", "wide": "intermediate_size", "layers": "num_hidden_layers"}
LONG |= {"heads": "num_attention_heads", "groups": "num_key_value_heads", "head": "head_dim"}


def config_of(name):
    """The shape as transformers has it; embedding and output head are one matrix in all six."""
    kind, *sizes, rows = SHAPES[name]
    named = dict(zip(LONG.values(), sizes, strict=True))
    return AutoConfig.for_model(kind, **named, vocab_size=rows, tie_word_embeddings=True)


assert projections("Qwen3-0.6B")[0] == (1_024, 16 * 128)
for name in SHAPES:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config_of(name))
    library = sum(each.numel() for each in model.parameters())
    assert parameters(name) == library
    print(f"{name:<13} {library:>13,} parameters; counted by hand: {parameters(name) == library}")

# %% [markdown]
# ### Exercise 10.1 (8 minutes)
# Write `training_bytes(frozen, trained, frozen_bytes)`: the bytes a student holds all the time. Of a **trained** weight:
# itself, its gradient and the two running means of AdamW, 4 bytes each. Of a **frozen** one: itself, `frozen_bytes`
# bytes.
#
# <details><summary>Hint</summary>With all weights trained, it is a multiple of their number. Which?</details>
# <details><summary>Help, case 2 fails</summary>Adapters are trained; the weights beside them are frozen, so
# they have no gradient and nothing in the optimizer.</details>


# %%
def training_bytes(frozen, trained, frozen_bytes):
    return ...


check("10.1", training_bytes)

# %% [markdown]
# ## The library's dry run
# The four bars are what never leaves. Texts come on top: keys and values while they are written, activations and
# logits while the student learns. A **dry run** runs the real modules on tensors without numbers, and adds up what
# lives at the same time. It takes every flag of `train`; a recipe is a file of such flags.
#
# ### Your guess first (10.2)
# The next cell plans the recipe for Qwen3 twice, with all weights trained and with adapters. Which part
# shrinks **least**?
# - **a** the optimizer
# - **b** the gradients
# - **c** the activations

# %%
check("10.2", ...)

# %%
import contextlib
import io
import json
import os
import shlex
import tempfile

from skd_lab import cli

os.chdir(tempfile.mkdtemp())  # what is written below lies there
student, teacher = PAIRS["Qwen3"]
for name in (student, teacher):
    config_of(name).save_pretrained(name)  # no weights: a dry run reads config.json alone


def skd_lab(command):
    """What `skd-lab COMMAND` prints in a terminal."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        cli.main(shlex.split(command))
    return printed.getvalue()


DRY = f"train --recipe l4-qwen3 --student {student} --teacher {teacher} --device cuda --dry-run 22"
plans = {
    "all weights": json.loads(skd_lab(f"{DRY} --json")),
    "adapters of rank 16": json.loads(skd_lab(f"{DRY} --lora-rank 16 --json")),
}
whole, thin = plans.values()
shrinks = {
    part: thin["parts"][part] / whole["parts"][part]
    for part in ("optimizer", "gradients", "activations")
}
for part, share in shrinks.items():
    print(f"{part:<12} adapters need {share:.1%} of it")
print("the activations shrink least:", max(shrinks, key=shrinks.get) == "activations")

# %% [markdown]
# Does it agree with what was counted by hand? Part by part, in bytes:

# %%
by_hand = {
    "student weights": 4 * parameters(student),
    "gradients": 4 * parameters(student),
    "optimizer": 8 * parameters(student),
    "teacher weights": 2 * parameters(teacher),
}
for part, size in by_hand.items():
    same = abs(whole["parts"][part] / size - 1) < 1e-5  # a few numbers more are no weights
    assert same
    print(f"{part:<16} by hand {size / GIB:5.2f} GiB, by the dry run the same: {same}")
same = abs(thin["parts"]["optimizer"] / (8 * adapters(student)) - 1) < 1e-5
assert same
print(f"{'adapters, AdamW':<16} by hand {8 * adapters(student) / 2**20:5.1f} MiB, the same: {same}")

# %% [markdown]
# What counts is the worst moment, and which one that is decides what helps:

# %%
from matplotlib.figure import Figure

drawn = Figure(figsize=(7.4, 2.9), layout="constrained")
axes = drawn.subplots()
moments = list(whole["times"])
for shift, (label, found), hatch in zip((0.19, -0.19), plans.items(), ("", "//"), strict=True):
    places = [place + shift for place in range(len(moments))]
    sizes = [found["times"][moment] / GIB for moment in moments]
    axes.barh(places, sizes, 0.36, label=label, hatch=hatch, edgecolor="#222", color="#8fb3d9")
for (card, room), style in zip(list(CARDS.items())[:2], ("--", ":"), strict=True):
    axes.axvline(room, color="#b35900", linestyle=style)
    axes.text(room, len(moments) - 0.45, card, color="#b35900", ha="center")
axes.set_yticks(range(len(moments)), moments)
axes.set(xlabel="GiB together, Qwen3-1.7B teaching 0.6B", ylim=(-0.6, len(moments) - 0.5))
drawn.legend(frameon=False, loc="outside lower center", ncols=2)
figure(
    drawn,
    "Three moments of an update. The longest bar must end well before the card's line.",
)

# %%
print("fits an L4:", whole["fits"], "with all weights,", thin["fits"], "with adapters")
worst = max(whole["times"], key=whole["times"].get)
print("the worst moment with all weights:", worst)
print(
    "largest microbatch on an L4:", whole["largest_microbatch"], "and", thin["largest_microbatch"]
)

# %% [markdown]
# The same in words is `skd-lab train --recipe l4-qwen3 --dry-run`, on the machine with the card or, with `--device cuda
# --dry-run 22`, on any other. `docs/memory.md` says what an estimate has been compared with: runs on CPUs, not on
# a GPU yet.
#
# ## Recipes
# A recipe is a file with a reason. Copy one, change it, and give your file to `--config`.

# %%
from importlib.resources import files
from pathlib import Path

import yaml

import skd_lab as skd

package = files("skd_lab")
recipes = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
    for path in sorted(Path(str(package / "real")).glob("*.yaml"))
}
for name, recipe in recipes.items():
    print(f"{name:<13} {recipe['about']}\n{'':<13} {recipe['hardware']}")
peaks = {name: recipe["memory_gib"] for name, recipe in recipes.items()}
known = {name: recipe["memory_is"] for name, recipe in recipes.items()}
figure(
    bars(peaks, notes=known, title="peak of the fullest GPU, GiB", top=80),
    "What each recipe is expected to need, and whether that was estimated or measured.",
)

# %%
print((package / "real" / "t4-qwen2.5.yaml").read_text(encoding="utf-8"))

# %% [markdown]
# ## Padded vocabularies
# A model's output has a row for each token, and then some: rows are added until their number is a round one, and
# the small models of a family may have another number of them than the large ones (as Qwen2.5 does). Nobody ever
# trained the rows beyond. A pair in small: the bundled teacher, with rows too many.

# %%
import copy

pair = skd.load_pair("tiny-qwen3", dtype="float64", device="cpu")
padded = copy.deepcopy(pair.teacher)
padded.resize_token_embeddings(pair.vocab_size + 64)
wide = skd.make_pair(pair.student, padded, pair.tokenizer, names=pair.names)
print(wide.report.splitlines()[2])

example = skd.get_task("summaries").load("test", n=1)
[row] = skd.encode_examples(pair.tokenizer, example, max_prompt_tokens=512).encoded
with torch.no_grad():
    law = padded(torch.tensor([row.prompt_ids])).logits[0, -1].softmax(-1)
    exact = pair.teacher(torch.tensor([row.prompt_ids])).logits[0, -1].softmax(-1)
beyond = float(law[wide.vocab_size :].sum())
print("the rows beyond get some of the probability:", beyond > 0)
cut = law[: wide.vocab_size] / (1 - beyond)
print("cut off and made to add up to 1, it is the teacher's law:", torch.allclose(cut, exact))

# %% [markdown]
# So logits are cut to the ids that both tokenizers know, before any softmax. Which ids those are, somebody
# has to check: the teacher judges *numbers*, and a number that means two things cannot be judged.
#
# ### Exercise 10.3 (10 minutes)
# Write `shared_ids(student, teacher)`. Both are dictionaries from token to id, with the ids 0, 1, 2 ... Give back how many ids,
# from 0 on, both have; and `None` if one that both have means two things.
#
# <details><summary>Hint</summary>Turn both around, from id to token, and look only as far as the shorter one
# goes.</details>


# %%
def shared_ids(student, teacher):
    return ...


check("10.3", shared_ids)

# %% [markdown]
# ## Chat templates
# A chat becomes one text with marks around its turns. Each family has its own marks, written by the
# **template** that comes with the tokenizer. What is trained is the answer *and the mark that ends it*: a student that
# never learns to end never stops.

# %%
chat = skd.get_task("arithmetic").load("test", n=1)
[row] = skd.encode_examples(pair.tokenizer, chat, max_prompt_tokens=512).encoded
ids = row.prompt_ids + row.reference_ids


def written(token):
    text = pair.tokenizer.decode([token])
    return text.replace(" ", "␣").replace("\n", "⏎")


answer = [place >= len(row.prompt_ids) for place in range(len(ids))]
figure(
    token_cells(
        [written(token) for token in ids],
        [0.6 if trained else 0.0 for trained in answer],
        ["trained" if trained else "" for trained in answer],
        ["end" if token in pair.eos_token_ids else "" for token in ids],
    ),
    "A question and its answer as the models see them. Shaded: what the loss is taken of.",
)

# %% [markdown]
# Real templates have habits. Two of them, in small, on the bundled tokenizer: Qwen3's has a switch for
# **thinking**, and Gemma 2's refuses a system turn. (Their own wording is longer.)

# %% [markdown]
# ### Your guess first (10.4)
# With thinking off, Qwen3's template writes an empty `<think>` block. It belongs to
# - **a** the prompt
# - **b** the answer, so that it is trained
# - **c** neither

# %%
check("10.4", ...)

# %%
chatml = pair.tokenizer.chat_template
block, opening = "<think>\n\n</think>\n\n", "<|im_start|>assistant\n"
with_switch = (
    "{%- for m in messages -%}{{ '<|im_start|>' + m.role + '\n' }}"
    "{%- if m.role == 'assistant' and loop.last -%}{{ BLOCK }}{%- endif -%}"
    "{{ m.content + '<|im_end|>\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ OPENING }}"
    "{%- if enable_thinking is false -%}{{ BLOCK }}{%- endif -%}{%- endif -%}"
).replace("BLOCK", repr(block))
tokenizer = copy.deepcopy(pair.tokenizer)
tokenizer.chat_template = with_switch.replace("OPENING", repr(opening))
parts = {}
for thinking in (False, True):
    asked = {"max_prompt_tokens": 512, "thinking": thinking}
    [row] = skd.encode_examples(tokenizer, chat, **asked).encoded
    parts[thinking] = [tokenizer.decode(ids) for ids in (row.prompt_ids, row.reference_ids)]
    print(f"thinking {'on' if thinking else 'off'}: ...{parts[thinking][0][-45:]!r}")
print("prompt and answer together are the same text:", len(set(map("".join, parts.values()))) == 1)

# %%
print("off, what is trained:", parts[False][1].split("####")[0].encode())
print("on,  what is trained:", parts[True][1].split("####")[0].encode())

# %% [markdown]
# With thinking on, a reference without thoughts teaches the student to leave thinking out: its empty block is
# part of the answer then. And Gemma 2 on a system turn:

# %%
refuse = "{%- if messages[0].role == 'system' -%}{{ raise_exception('System role not supported') }}"
tokenizer.chat_template = f"{refuse}{{%- endif -%}}{chatml}"
turns = [{"role": who, "content": "Hello."} for who in ("system", "user", "assistant")]
Path("mine.jsonl").write_text(json.dumps({"messages": turns}) + "\n", encoding="utf-8")
mine = skd.get_task("jsonl").load("train", data_path="mine.jsonl")
try:
    skd.encode_examples(tokenizer, mine, max_prompt_tokens=512)
except Exception as error:
    print(error)

# %% [markdown]
# ## Several ends
# Qwen ends a turn with one token and a document with another; both stop a text. Gemma 2 was even published with a
# list that lacks the one it writes. **By hand**: let the bundled pair have a second end, the full stop. With the same
# numbers, every text must be the old one up to its first full stop.

# %%
stop = pair.tokenizer("Yes.", add_special_tokens=False)["input_ids"][-1]
examples = skd.get_task("summaries").load("test", n=16)
encoded = skd.encode_examples(pair.tokenizer, examples, max_prompt_tokens=512).encoded
uniforms = skd.draw_uniforms(seed=3, rows=16, max_new_tokens=48)


def write(ends, pair=pair):
    rollouts = skd.interleaved_rollout(
        pair.student,
        pair.teacher,
        [row.prompt_ids for row in encoded],
        accept_top_k=3,
        gamma=5,
        max_new_tokens=48,
        eos_token_ids=ends,
        student_policy=skd.SamplingPolicy(),
        teacher_policy=skd.SamplingPolicy(),
        uniforms=uniforms,
        vocab_size=pair.vocab_size,
    )
    return [rollout.completion_ids.tolist() for rollout in rollouts]


one, two = write(pair.eos_token_ids), write([*pair.eos_token_ids, stop])
by_hand = [ids[: ids.index(stop) + 1] if stop in ids else ids for ids in one]
assert two == by_hand
print("a second end cuts each text at its first full stop:", two == by_hand)
print("the padded teacher writes the same texts:", write(wide.eos_token_ids, wide) == one)

# %% [markdown]
# ## A recorded run
# With a GPU of 8 GiB and a hub in reach, this cell loads Qwen3-0.6B and 1.7B (the first time it downloads both: a
# few minutes), records a text, and keeps it in `real.ndjson`, to be shown to others. Elsewhere it reads a
# record that comes with the package, **of a bundled pair, not of real models**.

# %%
import datetime

if real_models_available(8):
    real = skd.load_pair(student="Qwen/Qwen3-0.6B", teacher="Qwen/Qwen3-1.7B", dtype="bfloat16")
    print(real.report)
    [asked] = skd.encode_examples(real.tokenizer, examples[:1], max_prompt_tokens=512).encoded
    rule = {"accept_top_k": 3, "gamma": 5}
    rule |= {"student_policy": skd.SamplingPolicy(), "teacher_policy": skd.SamplingPolicy()}
    chance = skd.draw_uniforms(seed=0, rows=1, max_new_tokens=64)
    rollouts = skd.interleaved_rollout(
        real.student,
        real.teacher,
        [asked.prompt_ids],
        max_new_tokens=64,
        eos_token_ids=real.eos_token_ids,
        uniforms=chance,
        vocab_size=real.vocab_size,
        **rule,
    )
    traces = skd.record_traces(real, rollouts, uniforms=chance, seed=0, **rule)
    skd.write_traces("real.ndjson", traces)
    print(f"recorded on {datetime.date.today()}, {torch.cuda.get_device_name()}: real.ndjson")
else:
    print("No GPU or no hub here. A record of the bundled pair, in place of a real one:")
    traces = skd.read_traces(package / "bundled" / "traces" / "tiny-qwen3-summaries.ndjson")
trace = max(traces, key=lambda each: each.replaced)
print(
    trace.header["student"], "and", trace.header["teacher"], f"{trace.header['vocab_size']:,} ids"
)
skd.render_strip(trace)

# %% [markdown]
# ## Recap
# A trained weight costs sixteen bytes, a frozen one two or four; texts come on top, and the worst moment is what
# must fit. Adapters do away with gradients and optimizer, while most of the activations stay. Two models can be a pair if their
# ids mean the same; rows beyond are cut off. What stands in the prompt and what is trained, the template decides.
#
# ## Sources
# - Hu et al. 2021, [LoRA](https://arxiv.org/abs/2106.09685): adapters.
# - Xu et al. 2025, [Speculative Knowledge Distillation](https://arxiv.org/abs/2410.11325): Gemma and Qwen pairs.
# - `docs/real_models.md` has the recipes and the models' habits, `docs/memory.md` what helps when it does not fit.
#
# Next: [11 The family](11_the_family.ipynb)
