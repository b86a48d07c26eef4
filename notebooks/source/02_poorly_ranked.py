# %% [markdown]
# # 02 Poorly ranked
#
# **What does "not in the teacher's top K" mean, and what does it not depend on?**
#
# _About 20 minutes._
#
# After this notebook you can
# - give a token its rank from the teacher's logits, ties included;
# - say which changes to the logits move a rank and which never do;
# - explain why K means another thing to a vocabulary of 24 and to one of 150,000.

# %%
# SETUP

# %%
import math

from skd_lab.course import bars, check, explore, figure, side_by_side

logits = {"cat": 2.1, "dog": 2.0, "bird": 1.2, "tree": 0.3, "mat": -0.4, "sees": -1.1, "on": -1.8}


def softmax(numbers, temperature=1.0):
    """Logits to probabilities."""
    heights = [math.exp(number / temperature) for number in numbers.values()]
    return {word: height / sum(heights) for word, height in zip(numbers, heights, strict=True)}


def cut(K, temperature=1.0):
    """The teacher's probabilities; everything below rank K is hatched."""
    chances = softmax(logits, temperature)
    ranked = sorted(logits, key=logits.get, reverse=True)
    notes = {word: f"rank {ranked.index(word) + 1}" for word in logits}
    return bars(chances, out=ranked[K:], notes=notes, title=f"kept with K = {K}", top=1)


explore(cut, "Probabilities of seven words; hatched ones would be refused.", K=(1, 7, 3))

# %% [markdown]
# ## One rule
# A *logit* is the number a model gives a token before the softmax: the larger, the likelier. The **rank**
# of a token is its place when the teacher's logits are sorted from the largest down; the largest has
# rank 1. A student's proposal stands if its rank is at most K. Nothing else is asked: not how likely it
# is, not how likely the student held it.
#
# ## By hand
# Sort these eight numbers on paper and draw a line under the third. Which ids are above it?

# %%
import torch

import skd_lab as skd

paper = [0.4, 2.2, -1.0, 1.7, 2.2, 0.9, 3.1, -0.2]
by_hand = [6, 1, 4]  # 3.1, then 2.2 twice: the lower id first

ranks = skd.teacher_rank(torch.tensor([paper] * 8), torch.arange(8)).tolist()
print("ranks of ids 0 to 7:", ranks)
assert by_hand == sorted(range(8), key=ranks.__getitem__)[:3]
print("by hand and by the library:", by_hand == sorted(range(8), key=ranks.__getitem__)[:3])

# %% [markdown]
# Two logits are equal here. Someone has to come first, or "the top K" could hold K + 1 tokens: the
# lower id does. It matters little in float32, more in bfloat16, where many logits are equal.
#
# ### Exercise 02.1 (8 minutes)
# Write `in_top_k(logits, token, k)`: `logits` is a list of numbers, `token` an id.
#
# <details><summary>Hint</summary>Count the tokens that are ahead of it.</details>
# <details><summary>Help, case 4 fails</summary>Two equal logits: only ids below <code>token</code> are
# ahead of it.</details>


# %%
def in_top_k(logits, token, k):
    return ...


check("02.1", in_top_k)

# %% [markdown]
# ## What moves a rank?
# ### Your guess first (02.2)
# The teacher's logits are divided by a temperature of 0.5, which makes its probabilities sharper. Does
# that change who is in the top K?
# - **a** yes, fewer tokens are
# - **b** no, for no K
# - **c** only for K = 1

# %%
check("02.2", ...)

# %%
explore(
    cut,
    "Turn the temperature: the bars change, the hatching does not.",
    K=(1, 7, 3),
    temperature=(0.2, 3.0, 1.0, 0.1),
)


# %%
def ranking(numbers):
    return sorted(numbers, key=numbers.get, reverse=True)


changes = {
    "divided by 0.2": {word: x / 0.2 for word, x in logits.items()},
    "plus 100": {word: x + 100 for word, x in logits.items()},
    "after the softmax": softmax(logits),
    "its logarithm": {word: math.log(p) for word, p in softmax(logits).items()},
    "a penalty for 'cat'": logits | {"cat": logits["cat"] - 1},
}
for change, changed in changes.items():
    print(f"{change:<20} same ranking: {ranking(changed) == ranking(logits)}")

# %% [markdown]
# Ranks are about order, so whatever keeps the order keeps the rank. That is why skd_lab takes ranks from
# the **raw** logits: nothing that is done for sampling (temperature, top-p, penalties) can leak into the
# verdict. The code published with the paper takes them after such warping; notebook 08 shows
# what that does.
#
# ## A rank is not a probability
# A word of rank 3 may have a third of the teacher's mass, or next to none.

# %%
sure = {"cat": 9.0, "dog": 1.0, "bird": 0.5, "tree": 0.3, "mat": 0.1, "sees": 0.0, "on": -0.5}
unsure = {"cat": 1.0, "dog": 0.95, "bird": 0.9, "tree": 0.85, "mat": 0.8, "sees": 0.75, "on": 0.7}


def two_teachers(K):
    sides = []
    for name, numbers in (("a sure teacher", sure), ("an unsure teacher", unsure)):
        ranked = ranking(numbers)
        mass = sum(softmax(numbers)[word] for word in ranked[:K])
        title = f"{name}: its top {K} hold {mass:.1%}"
        sides.append(bars(softmax(numbers), out=ranked[K:], title=title, top=1))
    return side_by_side(*sides)


explore(two_teachers, "The same K lets in very different masses.", K=(1, 7, 3))

# %% [markdown]
# With K = 3 the sure teacher lets in a word it gives less than one in a thousand, and the unsure one
# refuses four words that are nearly as good as its first. That is the price of a rule with one knob; a
# rule on probability (top-p) would have the opposite trouble.
#
# ### Exercise 02.3 (5 minutes)
# Write `mass_above(probabilities, k)`: how much of the teacher's probability its top k hold.
# `probabilities` is a list of numbers, in no order.


# %%
def mass_above(probabilities, k):
    return ...


check("02.3", mass_above)

# %% [markdown]
# ## How large is K?
# The paper uses K = 25, with a vocabulary of 256,000. Twenty-five of our two dozen words would be all
# of them. The bundled models know 1,024 pieces of words, and there 3 does about what 25 does to a large model:
# look at where the student's proposals really stand.

# %%
pair = skd.load_pair("tiny-qwen3", dtype="float64", device="cpu")
examples = skd.get_task("summaries").load("test", n=48)
encoded = skd.encode_examples(pair.tokenizer, examples, max_prompt_tokens=512).encoded
prompts = [row.prompt_ids for row in encoded]
alone = skd.interleaved_rollout(
    pair.student,
    pair.teacher,
    prompts,
    accept_top_k=pair.vocab_size,  # nothing is refused: the student alone, ranked by the teacher
    gamma=5,
    max_new_tokens=48,
    eos_token_ids=pair.eos_token_ids,
    student_policy=skd.SamplingPolicy(),
    teacher_policy=skd.SamplingPolicy(),
    uniforms=skd.draw_uniforms(seed=0, rows=len(prompts), max_new_tokens=48),
    vocab_size=pair.vocab_size,
)
ranks = torch.cat([rollout.trace.teacher_rank for rollout in alone]).tolist()
shares = {f"K = {k}": sum(rank <= k for rank in ranks) / len(ranks) for k in (1, 2, 3, 5, 10, 25)}
figure(
    bars(shares, title="proposals that would stand", top=1),
    "Most proposals of the student stand at the first rank; K = 25 lets nearly all of them in.",
)

# %%
print("more stand the larger K is:", list(shares.values()) == sorted(shares.values()))
print(
    "K = 3 refuses some, K = 25 at most a third of those:",
    1 - shares["K = 25"] < (1 - shares["K = 3"]) / 3 + 0.01,
)

# %% [markdown]
# ## Recap
# A proposal stands if at most K - 1 tokens have a larger logit (or an equal one and a lower id) with
# the teacher. Temperature, a constant added to all logits, or the softmax leave every rank as it is. A rank
# says nothing about probability, and a good K depends on the size of the vocabulary and on how good the
# student is already.
#
# ## Sources
# - Xu et al. 2025, [Speculative Knowledge Distillation](https://arxiv.org/abs/2410.11325), section 3 and
#   Algorithm 1.
# - Holtzman et al. 2020, [The Curious Case of Neural Text Degeneration](https://arxiv.org/abs/1904.09751):
#   why ranks and nuclei behave differently.
#
# Before: [01 Practising on someone else's essay](01_someone_elses_essay.ipynb). Next:
# [03 Accept or replace](03_accept_or_replace.ipynb)
