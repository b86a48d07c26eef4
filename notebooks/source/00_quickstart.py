# %% [markdown]
# # 00 Quickstart
#
# **What does a teacher do to a student's text, token by token?**
#
# _About 10 minutes._
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
# This notebook writes one such text, shows every decision, and turns the one knob: K. It runs
# offline on a CPU, in under a minute, with two tiny models that come with the package.

# %%
# SETUP

# %%
# NBVAL_IGNORE_OUTPUT
import skd_lab as skd

pair = skd.load_pair("tiny-qwen3", dtype="float64")  # so that equal means equal, below
for role in ("student", "teacher"):
    print(f"{role}: {getattr(pair, role).num_parameters():,} weights")

# %% [markdown]
# ## The prompt
# Generated dialogues, to be summarised in a sentence or two. The student gets every fact right about one
# time in three, the teacher nearly always.

# %%
examples = skd.get_task("summaries").load("test", n=32)
encoded = skd.encode_examples(pair.tokenizer, examples, max_prompt_tokens=512).encoded
print(encoded[0].example.messages[-1]["content"])
print()
print("Reference:", encoded[0].example.reference)

# %% [markdown]
# ## Algorithm 1
# Prompts go in as lists of token ids. Chance goes in as well, as numbers between 0 and 1: one a position for
# the student's proposals, one a position for the teacher's replacements. So the same call always gives
# the same text, and `gamma` (how many tokens the student drafts before the teacher looks) changes
# what the rollout costs but never what it says.

# %%
plain = skd.SamplingPolicy(temperature=1.0)
prompts = [row.prompt_ids for row in encoded]
uniforms = skd.draw_uniforms(seed=0, rows=len(prompts), max_new_tokens=64)


def write(accept_top_k, gamma=5, teacher_policy=plain):
    """The 32 completions at one K, the same chance each time."""
    return skd.interleaved_rollout(
        pair.student,
        pair.teacher,
        prompts,
        accept_top_k=accept_top_k,
        gamma=gamma,
        max_new_tokens=64,
        eos_token_ids=pair.eos_token_ids,
        student_policy=plain,
        teacher_policy=teacher_policy,
        uniforms=uniforms,
        vocab_size=pair.vocab_size,
    )


def text(rollout):
    return pair.tokenizer.decode(rollout.completion_ids, skip_special_tokens=True)


rollouts = write(accept_top_k=3)
first = rollouts[0]
print(text(first))
print(f"{first.accepted} proposals kept + {first.replaced} replaced = {first.verified} tokens")

# %% [markdown]
# ## Every decision
# Refused proposals are struck through, the teacher's token stands beside them, and the blues say how likely
# the teacher held what it kept. Point at a token, or walk with the arrow keys (`n` jumps to the next
# refusal): the card shows both models' most likely tokens at that place.

# %%
# NBVAL_IGNORE_OUTPUT
shown = next(row for row, rollout in enumerate(rollouts) if rollout.replaced == 2)
[trace] = skd.record_traces(
    pair,
    [rollouts[shown]],
    uniforms=uniforms[:, shown : shown + 1],
    accept_top_k=3,
    gamma=5,
    student_policy=plain,
    teacher_policy=plain,
    seed=0,
)
skd.render_strip(trace)

# %% [markdown]
# ## Nothing to take on trust
# What the rule promises can be counted: a kept proposal has a teacher rank of at most K, a replaced one
# a larger rank. And a draft of one token or of eight gives the same 32 texts. (Exactly so in float64; in
# float32 two ways to compute one number differ in the last digit, and about once in ten thousand draws
# that decides a draw.)

# %%
for rollout in rollouts:
    for source, rank in zip(rollout.trace.source, rollout.trace.teacher_rank.tolist(), strict=True):
        assert (rank <= 3) == (source == "student")

texts = [text(rollout) for rollout in rollouts]
print(
    "gamma 1 and 8 give the same texts:",
    all([text(rollout) for rollout in write(3, gamma=gamma)] == texts for gamma in (1, 8)),
)

# %% [markdown]
# ## The knob
# With K as large as the vocabulary every proposal stands: the student writes alone, which is on-policy
# distillation. With K = 1 a proposal stands only if it is the teacher's first choice; if the teacher also
# replaces greedily, the text is exactly the teacher's own greedy text. SKD lives in between.

# %%
alone = skd.student_rollout(
    pair.student,
    prompts,
    max_new_tokens=64,
    policy=plain,
    uniforms=uniforms[0],
    eos_token_ids=pair.eos_token_ids,
    vocab_size=pair.vocab_size,
)
teacher = skd.teacher_rollout(
    pair.teacher,
    prompts,
    max_new_tokens=64,
    policy=skd.GREEDY,
    uniforms=uniforms[1],
    eos_token_ids=pair.eos_token_ids,
    vocab_size=pair.vocab_size,
)
everything = write(accept_top_k=pair.vocab_size)
nothing_else = write(accept_top_k=1, teacher_policy=skd.GREEDY)
print(
    "K = vocabulary is the student alone:",
    [text(r) for r in everything] == [text(r) for r in alone],
)
print(
    "K = 1, greedy, is the teacher alone:",
    [text(r) for r in nothing_else] == [text(r) for r in teacher],
)

# %%
# NBVAL_IGNORE_OUTPUT
for accept_top_k in (1, 2, 3, 5, 10, 25, pair.vocab_size):
    written = write(accept_top_k)
    tokens = sum(len(rollout.completion_ids) for rollout in written)
    share = sum(rollout.replaced for rollout in written) / tokens
    print(f"K = {accept_top_k:>4}   {share:6.1%} by the teacher   {'#' * round(100 * share)}")

# %%
# NBVAL_IGNORE_OUTPUT
for name, rollout in (
    ("K = 1", write(1)[shown]),
    ("K = 3", rollouts[shown]),
    ("student alone", alone[shown]),
):
    print(f"{name:>14}: {text(rollout)}")

# %% [markdown]
# ## Before you go
# K is set to the size of the vocabulary. Who writes the text?
#
# - **a** the student alone
# - **b** the teacher alone
# - **c** both, half and half
#
# Put the letter in place of the dots.

# %%
course.check("00.1", ...)

# %% [markdown]
# ## Recap
# The student proposes each token, the teacher keeps it if it is among its own K first choices, and
# writes a token of its own if not. K turns the teacher's influence up and down; gamma only turns the cost.
# %% [markdown]
# ## Going on
# - `make demo` (or `skd-lab demo`) distils this student three ways and writes a report with the
#   strip before and after training. `make app` opens it in a browser.
# - `skd.train(skd.RunConfig(pair="tiny-qwen3", method="skd", ...))` is one run; `skd-lab train --help`
#   lists every setting.
# - Your own models: `skd.load_pair(student="Qwen/Qwen3-0.6B", teacher="Qwen/Qwen3-1.7B")`, or folders.
# - `docs/architecture.md` says where everything lives.

# %% [markdown]
# ## Sources
# - Xu et al. 2025, [Speculative Knowledge Distillation](https://arxiv.org/abs/2410.11325), Algorithm 1.
