# %% [markdown]
# # 12 Your own task
#
# **How does a file of prompts become a distilled student, and how does one see that it was worth it?**
#
# _About 35 minutes._
#
# After this notebook you can
# - write your data as lines that the library reads, and mend what it refuses;
# - distil a student from the command line, score it with intervals, and make its report;
# - say what the student is worth as a draft for its teacher, by hand and measured.
#
# The bundled teacher is small and knows four kinds of text, so the "own" data below are dialogues to be
# summarised. With a GPU and a hub in reach the same cells use Qwen; with your file in place of `mine.jsonl`, and a
# teacher that knows your task, they do your task.

# %%
# SETUP

# %% [markdown]
# ## A line a prompt
# Say your data is a table with a dialogue in each row, and a summary in most. A line of the file is a chat: the
# user's turn, and the assistant's if there is an answer. **SKD trains on prompts**: the texts are written by student and
# teacher. Answers are needed for scores, and for methods that train on them (`sft`, `supervised_kd`).

# %%
import json
import os
import shlex
import tempfile
from pathlib import Path

import torch

import skd_lab as skd
from skd_lab import cli
from skd_lab.course import bars, check, explore, figure, real_models_available, token_cells

os.chdir(tempfile.mkdtemp())  # everything that is written below lies there
torch.set_num_threads(1)  # models this small lose time on more
REAL = real_models_available(20)
ASKED = "Summarize the dialogue.\n"
table = [
    {"dialogue": each.messages[-1]["content"].removeprefix(ASKED), "summary": each.reference}
    for each in skd.get_task("summaries").load("train", n=600, seed=7)
]
with open("mine.jsonl", "w", encoding="utf-8") as file:
    for row in table:
        asked = {"role": "user", "content": ASKED + row["dialogue"]}
        answer = {"role": "assistant", "content": row["summary"]}
        file.write(json.dumps({"messages": [asked, answer]}) + "\n")
if REAL:
    pair = skd.load_pair(
        student="Qwen/Qwen2.5-0.5B-Instruct",
        teacher="Qwen/Qwen2.5-1.5B-Instruct",
        dtype="bfloat16",
    )
else:
    pair = skd.load_pair("tiny-qwen3", start="sft100", device="cpu")
first = skd.get_task("jsonl").load("train", n=1, data_path="mine.jsonl")
[row] = skd.encode_examples(pair.tokenizer, first, max_prompt_tokens=512).encoded
ids, begins = row.prompt_ids + row.reference_ids, len(row.prompt_ids)
words = [pair.tokenizer.decode([i]).replace(" ", "␣").replace("\n", "⏎") for i in ids]
figure(
    token_cells(words, [0.6 * (place >= begins) for place in range(len(ids))]),
    f"The first line of the file in {len(ids)} tokens. Shaded: the answer, with its end.",
)

# %% [markdown]
# ### Exercise 12.1 (8 minutes)
# Write `to_line(row)` for a row such as `{"dialogue": ..., "summary": ...}`; there may be no summary, or an empty one. It
# gives the dictionary that becomes the line. What the user asks is `"Summarize the dialogue.\n"` and the dialogue.
#
# <details><summary>Hint</summary><code>{"messages": [{"role": "user", "content": ...}, ...]}</code></details>
# <details><summary>Help, case 2 fails</summary>A row without a summary ends with the user's turn.</details>


# %%
def to_line(row):
    return ...


check("12.1", to_line)

# %% [markdown]
# ## What is refused, and how it is said
# Five lines that people write. Guess what is wrong with each before you run the cell.

# %%
lines = [
    '{"prompt": "Q: 2+2? A:", "completion": ""}',
    '{"question": "2+2?", "answer": "4"}',
    '{"messages": [{"role": "user", "content": "2+2?"}], "prompt": "2+2?"}',
    '{"system": "Be brief.", "prompt": "Q: 2+2? A:", "completion": " 4"}',
    '{"prompt": "Q: 2+2? A:", "completion": 4}',
]
for number, line in enumerate(lines, start=1):
    Path("bad.jsonl").write_text(line + "\n", encoding="utf-8")
    try:
        skd.get_task("jsonl").load("train", data_path="bad.jsonl")
    except Exception as error:
        print(f"{number}  {error}")

# %% [markdown]
# ## Held out
# A single file is parted by a hash of each prompt: about 80 in 100 for training, ten each for choosing and for
# testing. The same prompt is always on the same side, even if it stands in the file twice.

# %%
parts = {
    split: skd.get_task("jsonl").load(split, data_path="mine.jsonl")
    for split in ("train", "validation", "test")
}
prompts = {split: {e.messages[-1]["content"] for e in part} for split, part in parts.items()}
print({split: len(part) for split, part in parts.items()})
print("every line is somewhere:", sum(map(len, parts.values())) == len(table))
print(
    "no prompt is on two sides:", not (prompts["train"] & (prompts["validation"] | prompts["test"]))
)

# %% [markdown]
# ## Before, training, after
# The commands are those of a terminal; `$` is what you would type. Distilling takes 40 updates here: about half a
# minute on two quiet cores. (`--help` says what else there is. Interrupted? Run the cell again.)

# %%
import contextlib
import io

TASK = "--task jsonl --data-path mine.jsonl"
if REAL:
    models = "--student Qwen/Qwen2.5-0.5B-Instruct --teacher Qwen/Qwen2.5-1.5B-Instruct"
    models += " --dtype bfloat16 --max-new-tokens 64"
    how = "--lora-rank 16 --learning-rate 1e-4"
else:
    pair.student.save_pretrained("start")
    pair.tokenizer.save_pretrained("start")  # a model is a folder with its tokenizer
    models = "--pair tiny-qwen3 --student start --device cpu"  # so small that a GPU is no gain
    how = "--learning-rate 2e-3"


def skd_lab(command, quiet=False):
    """Do what `skd-lab COMMAND` does in a terminal, and give back what it prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = cli.main(shlex.split(command))
    if not quiet:
        print(f"$ skd-lab {command}\n{printed.getvalue()}")
    if code:
        raise RuntimeError("The command stopped early. What it said stands above this line.")
    return printed.getvalue()


began = skd_lab(f"evaluate {models} {TASK} --n 60 -o before.json")

# %%
# run again after an interrupt, this cell goes on from its last checkpoint
again = any(Path("runs/mine/checkpoints").glob("step-*"))
done = skd_lab(
    f"train {models} {TASK} {how} --steps 40 --batch-size 16 --warmup-steps 4 --trace-prompts 4 "
    f"--trace-every 20 --run-dir runs/mine {'--resume' if again else '--overwrite'} --quiet"
)

# %%
ended = skd_lab("evaluate --run runs/mine --n 60 -o after.json")

# %%
reports = {name: json.loads(Path(f"{name}.json").read_text()) for name in ("before", "after")}
scores = {name: report["metrics"]["rouge_l"] for name, report in reports.items()}
between = {name: f"({s['low']:.3f} to {s['high']:.3f})" for name, s in scores.items()}
shared_words = bars(
    {name: s["value"] for name, s in scores.items()},
    notes=between,
    top=1,
    title="ROUGE-L and its 95% interval",
)
nats = {name: report["kl_samples"] for name, report in reports.items()}
figure(
    shared_words + bars(nats, title="KL to the teacher on own text, nats a token"),
    "The test prompts, before and after. Where the intervals overlap, more prompts are needed to "
    "tell the two scores apart.",
)

# %%
print("nearer to the teacher on its own text:", nats["after"] < nats["before"])
low, high = scores["after"]["low"], scores["before"]["high"]
print("the two intervals of the score lie apart:", low > high)

# %% [markdown]
# Whether this is *better than another method* needs the other method beside it, on the same prompts and from several
# seeds: notebook 09, and `skd-lab compare`.
#
# ## The report
# `skd-lab view` makes one page of the run: scores, curves, settings, and watched prompts before, in the middle and at
# the end. Its pictures are also functions.

# %%
said = skd_lab("view runs/mine", quiet=True)
print("the page is there:", Path("runs/mine/report.html").exists())
figure(
    skd.plot_training("runs/mine", smooth=5),
    "Left the loss, right the share of tokens that the teacher replaced, by update.",
)

# %%
run = skd.Run("runs/mine")
steps = sorted({trace.header["step"] for trace in run.traces})
rates = {}
for step in steps:
    traces = [trace for trace in run.traces if trace.header["step"] == step]
    tokens = [token for trace in traces for token in trace.tokens]
    rates[f"update {step}"] = sum(t["source"] == "teacher" for t in tokens) / len(tokens)
figure(
    bars(rates, title="tokens by the teacher, watched prompts"),
    "The watched prompts over time: the same prompts and random numbers at every look.",
)

# %%
last = [trace for trace in run.traces if trace.header["step"] == steps[-1]]
skd.render_strip(max(last, key=lambda trace: trace.replaced))

# %% [markdown]
# ## What is it worth as a draft?
# A distilled student has a second use. Under the **lossless** rule (notebook 05) it drafts, the teacher checks, and a
# proposal x stands with chance min(1, p(x)/q(x)): q is the student's law, p the teacher's.
#
# ### Your guess first (12.2)
# The text that comes out has the law of
# - **a** the student
# - **b** the teacher
# - **c** something in between

# %%
check("12.2", ...)

# %% [markdown]
# **By hand.** Student a 5/10, b 3/10, c 2/10; teacher a 2/10, b 7/10, c 1/10. A proposal a stands 2 times in 5, b always, c
# 1 time in 2. So of all proposals 2/10 + 3/10 + 1/10 = 6/10 stand. The laws differ by 3/10, 4/10 and 1/10; half of
# their sum is the *total variation*, 4/10, and 1 - 4/10 is the same 6/10.

# %%
import math
from fractions import Fraction as F

q = {"a": F(5, 10), "b": F(3, 10), "c": F(2, 10)}
p = {"a": F(2, 10), "b": F(7, 10), "c": F(1, 10)}
by_hand = F(6, 10)
stands = sum(q[x] * min(F(1), p[x] / q[x]) for x in q)
logs = [torch.tensor([[float(each) for each in law.values()]]).log() for law in (q, p)]
library = 1 - skd.total_variation(*logs).item()
assert stands == by_hand and math.isclose(library, by_hand, abs_tol=1e-6)
print("by hand, by enumeration and by the library:", by_hand, stands, round(library, 6))

# %% [markdown]
# ### Exercise 12.3 (5 minutes)
# Write `acceptance(student, teacher)` for two dictionaries from word to probability: how often does a proposal stand?
#
# <details><summary>Hint</summary>q min(1, p/q) can be written shorter.</details>


# %%
def acceptance(student, teacher):
    return ...


check("12.3", acceptance)

# %% [markdown]
# ## The same on a real prefix
# One prefix, both models: what the formula says, and what happens to proposals that are really drawn and judged.

# %%
own = {"teacher": "Qwen/Qwen2.5-1.5B-Instruct", "dtype": "bfloat16"}
own = own if REAL else {"name": "tiny-qwen3", "device": "cpu"}
trained = skd.load_pair(student="runs/mine/student", **own)
ids = torch.tensor([row.prompt_ids], device=trained.student.device)
with torch.no_grad():
    mine, theirs = (
        model(ids).logits[:, -1, : trained.vocab_size].float().cpu()
        for model in (trained.student, trained.teacher)
    )
expected = 1 - skd.total_variation(mine.log_softmax(-1), theirs.log_softmax(-1)).item()
law, wanted = mine.softmax(-1)[0].double(), theirs.softmax(-1)[0].double()
summed = torch.minimum(law, wanted).sum().item()

generator = torch.Generator().manual_seed(0)
drawn = torch.multinomial(law, 20_000, replacement=True, generator=generator)
stood = torch.rand(20_000, generator=generator) < (wanted / law)[drawn]
share, error = stood.double().mean().item(), math.sqrt(expected * (1 - expected) / 20_000)
same = math.isclose(expected, summed, abs_tol=1e-4)
assert same
print("1 - TV is the sum of the smaller probabilities:", same)
print("20,000 proposals agree with it:", abs(share - expected) < 4 * error + 1e-4)

# %% [markdown]
# And over whole texts: `evaluate --draft` lets both students draft for the teacher, the one the run began with and the
# trained one. It reports the share that stood *and* the mean of 1 - TV over the same prefixes: they may differ by
# luck alone, or something is wrong with a sampler.

# %%
text = skd_lab("evaluate --run runs/mine --draft --n 60 --gamma 4 -o drafts.json")
drafts = json.loads(Path("drafts.json").read_text())
before, after = drafts["drafts"]
print("as near as luck has them:", before["agrees"] and after["agrees"])
print("the trained one is the better draft:", drafts["difference"]["low"] > 0)

# %% [markdown]
# ### Exercise 12.4 (8 minutes)
# Each proposal stands with chance a, whatever came before. How many tokens does one forward of the teacher give, on
# average, with blocks of gamma proposals? Write `tokens_per_block(accepted, gamma)`. At a refusal the teacher writes one
# token itself, and if the whole block stands it adds one.
#
# <details><summary>Hint</summary>The first proposal stands with chance a, the first two with a times a ... Add up the
# chances, and the teacher's own token.</details>


# %%
def tokens_per_block(accepted, gamma):
    return ...


check("12.4", tokens_per_block)


# %%
def speed(accepted, gamma, student_cost):
    """A block costs gamma forwards of the student and one of the teacher."""
    tokens = {g: sum(accepted**i for i in range(g + 1)) for g in range(1, 11)}
    faster = {f"gamma {g}": n / (g * student_cost + 1) for g, n in tokens.items()}
    best = max(faster, key=faster.get)
    marks = {f"gamma {gamma}": f"({tokens[gamma]:.2f} tokens a block) ← chosen"}
    drawing = bars(faster, notes=marks, title="times as fast as the teacher alone")
    return drawing + f"<p>The best here: {best}.</p>"


count = {role: sum(w.numel() for w in getattr(trained, role).parameters()) for role in pair.names}
explore(
    speed,
    "What drafting gains, if proposals stand independently. It begins with the measured "
    "acceptance, and with a student as dear as its share of the teacher's weights.",
    accepted=(0.05, 0.99, round(after["acceptance_rate"], 2), 0.01),
    gamma=(1, 10, 4),
    student_cost=(0.0, 1.0, round(count["student"] / count["teacher"], 2), 0.01),
)

# %% [markdown]
# That is arithmetic, not a clock: a small model on a CPU loses more to bookkeeping than to multiplying. `docs/performance.md`
# has measured times.
#
# ## Take it with you
# `runs/mine/student` is a plain Hugging Face folder; skd_lab is not needed to use it. As a draft it is what
# transformers calls an *assistant*. Greedy, teacher and draft must write what the teacher writes alone:

# %%
from transformers import AutoModelForCausalLM, AutoTokenizer

student = AutoModelForCausalLM.from_pretrained("runs/mine/student").eval()
tokenizer = AutoTokenizer.from_pretrained("runs/mine/student")
teacher = trained.teacher.cpu().float()
text = tokenizer.apply_chat_template(first[0].messages, add_generation_prompt=True, tokenize=False)
asked = tokenizer(text, return_tensors="pt", add_special_tokens=False)
settings = {"max_new_tokens": 40, "do_sample": False, "pad_token_id": trained.pad_token_id}
settings["eos_token_id"] = trained.eos_token_ids
alone = teacher.generate(**asked, **settings)
helped = teacher.generate(**asked, **settings, assistant_model=student)
print("with the draft, the same text:", alone.tolist() == helped.tolist())
print(tokenizer.decode(alone[0, asked["input_ids"].shape[1] :], skip_special_tokens=True))

# %% [markdown]
# ## Recap
# A file of chats is enough, and prompts alone will do for SKD. Scores need held-out prompts and intervals; nearness to
# the teacher is another number than the score. As a draft, a student is worth the sum of what both models give each
# word: 1 - TV, and the trained one is measured beside the one it began as.
#
# ## Sources
# - Leviathan et al. 2023, [Fast Inference from Transformers via Speculative
#   Decoding](https://arxiv.org/abs/2211.17192): the rule, Corollary 3.6 and Theorem 3.8.
# - Xu et al. 2025, [Speculative Knowledge Distillation](https://arxiv.org/abs/2410.11325).
# - Zhou et al. 2024, [DistillSpec](https://arxiv.org/abs/2310.08461): distilling a draft on purpose.
#
# Before: [11 The family](11_the_family.ipynb). Back to the beginning: [00 Quickstart](00_quickstart.ipynb)
