# %% [markdown]
# # 00 Quickstart
#
# **What does a teacher do to a student's text, and what does the student make of it?**
#
# _About 15 minutes._
#
# A small *student* should learn from a large *teacher*. On which text?
#
# - On finished answers: good text, but not what the student itself will write.
# - On the student's own text: the right situations, but early on much of it is so poor that the
#   teacher has little to say about it.
#
# SKD ([Xu et al. 2025](https://arxiv.org/abs/2410.11325)) lets the student write and the teacher
# edit *while it writes*: the student proposes a token, and the teacher keeps it if it is among its
# own K most likely ones. If not, the teacher writes a token of its own in that place, and the student
# goes on from there.
#
# After this notebook you can
# - read such a text, decision by decision;
# - distil a student for a minute, and see what changed;
# - say what K does, at both of its ends.
#
# It runs offline on a CPU with two tiny models that come with the package. The first cell looks at your
# machine.

# %%
# SETUP

# %% [markdown]
# ## Watch a teacher correct a student
# The prompt is a dialogue, to be summarised in a sentence. Refused proposals are struck through, the
# teacher's token stands beside them, and the blues say how likely the teacher held what it kept. Point at a
# token, or walk with the arrow keys (`n` jumps to the next refusal): the card shows both models' most
# likely tokens at that place.

# %%
import skd_lab as skd
from skd_lab.course import bars, check, explore, figure, real_models_available, token_cells

K, plain = 3, skd.SamplingPolicy(temperature=1.0)
# a student that has seen 100 answers; float64 (which Apple's GPUs lack) so that equal means equal
pair = skd.load_pair("tiny-qwen3", start="sft100", dtype="float64", device="cpu")
examples = skd.get_task("summaries").load("test", n=32)
encoded = skd.encode_examples(pair.tokenizer, examples, max_prompt_tokens=512).encoded
prompts = [row.prompt_ids for row in encoded]
# chance goes in from outside, so the same call always gives the same texts
uniforms = skd.draw_uniforms(seed=0, rows=32, max_new_tokens=64)


def write(pair, accept_top_k=K, gamma=5, teacher_policy=plain, asked=prompts, numbers=uniforms):
    """The 32 completions: the student proposes, the teacher keeps or replaces."""
    return skd.interleaved_rollout(
        pair.student,
        pair.teacher,
        asked,
        accept_top_k=accept_top_k,
        gamma=gamma,
        max_new_tokens=64,
        eos_token_ids=pair.eos_token_ids,
        student_policy=plain,
        teacher_policy=teacher_policy,
        uniforms=numbers,
        vocab_size=pair.vocab_size,
    )


def strip(pair, rollout, title):
    """One completion as a page draws it."""
    numbers = uniforms[:, shown : shown + 1]
    asked = {"accept_top_k": K, "gamma": 5, "student_policy": plain, "teacher_policy": plain}
    return skd.render_strip(
        skd.record_traces(pair, [rollout], uniforms=numbers, seed=0, **asked), title
    )


before = write(pair)
shown = min(range(32), key=lambda row: (abs(before[row].replaced - 4), row))
print(encoded[shown].example.messages[-1]["content"])
strip(pair, before[shown], "before training")

# %% [markdown]
# ## Count it yourself
# Every proposal the teacher looked at became exactly one token of the text: it was kept, or it was replaced.
# Count the struck-through ones above, and compare. What the rule promises can be counted too: a kept
# proposal has a teacher rank of at most K, a replaced one a larger rank.

# %%
first = before[shown]
print(f"{first.accepted} kept + {first.replaced} replaced = {first.verified} tokens")
assert first.accepted + first.replaced == len(first.completion_ids)
promised = [
    (rank <= K) == (source == "student")
    for rollout in before
    for source, rank in zip(rollout.trace.source, rollout.trace.teacher_rank.tolist(), strict=True)
]
assert all(promised)
print(f"kept exactly where the rank is at most {K}: {all(promised)}, {len(promised)} tokens")

# %% [markdown]
# ## Turn K
# The same prompt and the same random numbers at another K: a small one refuses more, a large one lets the
# student have its way. Move the slider (or click it, and use the arrow keys), and watch the facts. (The
# strip has a slider too: it judges the record again. Here the text is *written* again.)


# %%
def text_at(K):
    here = slice(shown, shown + 1)
    [text] = write(pair, accept_top_k=K, asked=prompts[here], numbers=uniforms[:, here])
    words = [pair.tokenizer.decode([token]).strip() or "␣" for token in text.completion_ids]
    marks = ["teacher" * (source == "teacher") for source in text.trace.source]
    ranks = [f"rank {rank}" for rank in text.trace.teacher_rank.tolist()]
    title = f"K = {K}: {text.replaced} of {text.verified} tokens are the teacher's"
    return token_cells(words, None, ranks, marks, title)


explore(
    text_at,
    "Below each token the rank of what the student proposed there. Thick borders: refused, and "
    "written by the teacher.",
    K=(1, 12, 3),
)

# %% [markdown]
# ## Distil for a minute
# An update writes 16 such texts and moves the student towards the teacher at every token of them. The cell
# below makes 60 updates: well under a minute on two quiet cores.
#
# **Interrupted it?** (The square button, or a dropped connection.) The run stops after the update it is
# at and saves a checkpoint; the kernel stays usable. Run the cell again: it finds the checkpoint and goes on
# from there (`resume=True`), as if nothing had happened. After a restart of the kernel it begins anew,
# unless `folder` names the old folder.

# %%
import tempfile
from pathlib import Path

if "folder" not in globals():  # a second run of this cell keeps the folder
    folder = Path(tempfile.mkdtemp()) / "quickstart"
config = skd.with_preset(  # what is not said here is chosen to fit the pair
    {
        "pair": "tiny-qwen3",
        "method": "skd",
        "steps": 60,
        "batch_size": 16,
        "accept_top_k": K,
        "learning_rate": 2e-3,
        "warmup_steps": 5,
        "n_prompts": 1000,
        "trace_prompts": 0,
        "run_dir": str(folder),
        "resume": any(folder.glob("checkpoints/step-*")),
        "overwrite": not any(folder.glob("checkpoints/step-*")),
    }
)
result = skd.train(config, pair=skd.load_pair("tiny-qwen3", start="sft100", device="cpu"))
print(len(result.steps), "updates done")

# %%
drawn = skd.plot_training(result.run_dir, smooth=9)
figure(
    drawn,
    "Left the loss, right the share of tokens the teacher replaced, by update. Pale: each update.",
)

# %%
rates = [step.metrics["replacement_rate"] for step in result.steps]
third = len(rates) // 3
early, late = sum(rates[:third]) / third, sum(rates[-third:]) / third
print(f"replaced in the first third {early:.1%}, in the last third {late:.1%}")
print("the teacher has less to correct:", late < early)

# %% [markdown]
# ## Watch again
# The same prompt, the same random numbers, the trained student.

# %%
trained = skd.load_pair("tiny-qwen3", student=folder / "student", dtype="float64", device="cpu")
after = write(trained)
strip(trained, after[shown], "after training")


# %%
def replaced_share(rollouts):
    """The share of tokens the teacher wrote."""
    return sum(r.replaced for r in rollouts) / sum(r.verified for r in rollouts)


shares = {"before": replaced_share(before), "after": replaced_share(after)}
figure(bars(shares, title="tokens by the teacher, 32 new prompts"), "Before and after training.")

# %% [markdown]
# Fewer replacements mean that the student now writes what this teacher would let stand. Whether its summaries
# are *better* is another question, with intervals and other methods beside it: notebooks 07 and 09.
#
# ## The knob
# ### Your guess first (00.1)
# Your knob is K. Turn it up to the size of the vocabulary. Who writes the text?
#
# - **a** the student alone
# - **b** the teacher alone
# - **c** both, half and half
#
# Put the letter in place of the dots.

# %%
check("00.1", ...)

# %% [markdown]
# With K as large as the vocabulary every proposal stands: the student writes alone, which is on-policy
# distillation. With K = 1 a proposal stands only if it is the teacher's first choice; if the teacher also
# replaces greedily, the text is exactly the teacher's own greedy text. SKD lives in between. And `gamma`
# (how many tokens the student drafts before the teacher looks) changes what a text costs, never what it
# says. (Exactly so in float64; in float32 the last digits differ, and seldom that decides a draw.)

# %%
common = {
    "max_new_tokens": 64,
    "eos_token_ids": pair.eos_token_ids,
    "vocab_size": pair.vocab_size,
}
alone = skd.student_rollout(pair.student, prompts, policy=plain, uniforms=uniforms[0], **common)
teacher = skd.teacher_rollout(
    pair.teacher, prompts, policy=skd.GREEDY, uniforms=uniforms[1], **common
)


def ids(rollouts):
    return [rollout.completion_ids.tolist() for rollout in rollouts]


everything = write(pair, accept_top_k=pair.vocab_size)
nothing_else = write(pair, accept_top_k=1, teacher_policy=skd.GREEDY)
print("K = vocabulary is the student alone:", ids(everything) == ids(alone))
print("K = 1, greedy, is the teacher alone:", ids(nothing_else) == ids(teacher))
print("gamma 8 gives the same texts:", ids(write(pair, gamma=8)) == ids(before))

# %%
by_teacher = {
    "K = 1": replaced_share(write(pair, 1)),
    f"K = {K}": shares["before"],
    "K = 10": replaced_share(write(pair, 10)),
    f"K = {pair.vocab_size}": replaced_share(everything),
}
figure(
    bars(by_teacher, title="tokens by the teacher, before training"),
    "The larger K is, the less the teacher writes.",
)

# %% [markdown]
# ## With real models
# On a GPU with the model hub in reach, the same lines show Qwen 0.6B corrected by Qwen 1.7B; elsewhere
# this cell only says so. (The first time, it downloads both: a few minutes.)

# %%
if real_models_available(8):
    real = skd.load_pair(student="Qwen/Qwen3-0.6B", teacher="Qwen/Qwen3-1.7B", dtype="bfloat16")
    [row] = skd.encode_examples(real.tokenizer, [examples[shown]], max_prompt_tokens=512).encoded
    own = uniforms[:, shown : shown + 1]  # the numbers of the prompt shown above
    [text] = write(real, asked=[row.prompt_ids], numbers=own)
    picture = strip(real, text, "Qwen3 0.6B, corrected by Qwen3 1.7B")
else:
    picture = None
    print("No GPU, or no hub: this notebook used the bundled models.")
picture

# %% [markdown]
# ## Recap
# The student proposes each token, the teacher keeps it if it is among its own K first choices, and
# writes a token of its own if not. Training on such texts leaves the teacher less to correct. K turns
# the teacher's influence up and down; gamma only turns the cost.
#
# ## Going on
# - `skd-lab demo` (or `make demo`) distils the bundled student three ways and writes a report with the strip before
#   and after training. `skd-lab app` opens it in a browser.
# - `skd.train(skd.RunConfig(pair="tiny-qwen3", method="skd", ...))` is one run; `skd-lab train --help`
#   lists every setting.
# - Your own models: `skd.load_pair(student="Qwen/Qwen3-0.6B", teacher="Qwen/Qwen3-1.7B")`, or folders.
# - `docs/architecture.md` says where everything lives.
#
# ## Sources
# - Xu et al. 2025, [Speculative Knowledge Distillation](https://arxiv.org/abs/2410.11325), Algorithm 1.
#
# Next: [01 Practising on someone else's essay](01_someone_elses_essay.ipynb)
