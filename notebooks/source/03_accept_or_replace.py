# %% [markdown]
# # 03 Accept or replace
#
# **What happens to a token the teacher refuses, and what does the student see next?**
#
# _About 25 minutes._
#
# After this notebook you can
# - run Algorithm 1 of the paper on paper, with a list of random numbers;
# - write it in ten lines, and get the same text as the library, token for token;
# - say how often the teacher will write, before anything is drawn.

# %%
# SETUP

# %%
from skd_lab.course import bars, check, figure, side_by_side, step_through, token_cells, toy

student = toy.Reader(toy.library(40))
K = 3
numbers = {"student": toy.chances(120, 8), "teacher": toy.chances(77, 8)}


def rank_of(law, word):
    """The place of a word when the teacher's probabilities are sorted; 1 is the most likely."""
    ahead = [other for other in law if law[other] > law[word]]
    equal = [other for other in law if law[other] == law[word]]
    return len(ahead) + equal.index(word) + 1


def one_word(text, place):
    """Everything that is decided at one place of Algorithm 1."""
    proposed = toy.draw(student(text), numbers["student"][place])
    rank = rank_of(toy.teacher(text), proposed)
    instead = toy.draw(toy.teacher(text), numbers["teacher"][place])
    return proposed, rank, (proposed if rank <= K else instead)


text, story = [], []
while len(text) < 8 and text[-1:] != ["</s>"]:
    story.append((list(text), *one_word(text, len(text))))
    text.append(story[-1][-1])
marks = ["" if rank <= K else "teacher" for _, _, rank, _ in story]
notes = [f"{proposed} ✗" if rank > K else f"rank {rank}" for _, proposed, rank, _ in story]
figure(
    token_cells(text, None, notes, marks, f"written together, K = {K}"),
    "Words with a thick border are the teacher's; under them stands what the student had proposed.",
)

# %% [markdown]
# ## Algorithm 1
# For every place of the text:
#
# 1. the **student** proposes a word, drawn from its own law;
# 2. the **teacher** looks at the proposal's rank in *its* law of the same place;
# 3. rank at most K: the proposal stands;
# 4. otherwise it is thrown away, and the teacher writes a word there, drawn from *its* law;
# 5. both go on from the word that stands, whoever wrote it.
#
# In notebook 01 the student wrote this very essay alone, with the same numbers. There it was lost from
# the sixth word on. Walk through the new one:


# %%
def frame(prefix, proposed, rank, kept):
    place = len(prefix)
    laws = {"the student's law": student(prefix), "the teacher's law": toy.teacher(prefix)}
    sides = []
    for title, law in laws.items():
        top = dict(sorted(law.items(), key=lambda item: -item[1])[:5])
        if proposed not in top:
            top[proposed] = law[proposed]
        refused = [word for word in top if rank_of(toy.teacher(prefix), word) > K]
        shown = {word: float(p) for word, p in top.items()}
        sides.append(bars(shown, out=refused, title=title, top=1))
    u, v = numbers["student"][place], numbers["teacher"][place]
    said = f"<p>The student's number is {u}: it proposes <b>{proposed}</b>. "
    said += f"The teacher ranks it {rank}: "
    said += "it stands." if rank <= K else f"refused. The teacher's number is {v}: <b>{kept}</b>."
    before = token_cells(prefix or ["(the beginning)"], title=f"word {place + 1}, behind")
    return before + side_by_side(*sides) + said + "</p>"


step_through(
    [frame(*entry) for entry in story],
    "One word of Algorithm 1 at a time; hatched words would be refused by the teacher.",
    first=5,
)

# %% [markdown]
# ## By hand
# Do the fifth word yourself, on paper, from the two laws in step 5 above and the numbers below (running
# sums in the order of the vocabulary; the laws are printed in that order).

# %%
prefix, proposed, rank, kept = story[4]
for who, law in (("student", student(prefix)), ("teacher", toy.teacher(prefix))):
    running = 0
    print(f"{who}, number {numbers[who][4]}")
    for word, p in law.items():
        running += p
        if p > 0.03 or word == proposed:
            print(f"   {word:<8} {float(p):.3f}   sum {float(running):.3f}")
by_hand = {"proposed": "in", "kept": "."}
assert by_hand == {"proposed": proposed, "kept": kept}
print("by hand and by the loop:", by_hand == {"proposed": proposed, "kept": kept})

# %% [markdown]
# ### Exercise 03.1 (10 minutes)
# Write `skd_step(student_law, teacher_law, k, u, v)`. The laws are dictionaries from word to probability, `u` is
# the student's number and `v` the teacher's. Give back two things: the word that stands, and who
# wrote it (`"student"` or `"teacher"`). `toy.draw(law, number)` draws.
#
# <details><summary>Hint</summary>Three lines: draw the proposal; find its rank in the teacher's law
# (<code>rank_of</code> is above); decide.</details>
# <details><summary>Help, case 3 fails</summary>If the teacher happens to draw the very word that was
# refused, it still wrote it.</details>


# %%
def skd_step(student_law, teacher_law, k, u, v):
    return ...


check("03.1", skd_step)

# %% [markdown]
# ## The same with two real models
# The loop below is Algorithm 1 once more, with the two small language models that come with the
# library: no cache, no drafting, one forward of each model for every token. The library's own
# `interleaved_rollout` drafts five tokens at a time with cached keys and values. In float64, with the same
# numbers, both must write the same ids.

# %%
import torch

import skd_lab as skd

pair = skd.load_pair("tiny-qwen3", dtype="float64", device="cpu")
example = skd.get_task("summaries").load("test", n=1)
prompt = skd.encode_examples(pair.tokenizer, example, max_prompt_tokens=512).encoded[0].prompt_ids
uniforms = skd.draw_uniforms(seed=5, rows=1, max_new_tokens=40)
plain = skd.SamplingPolicy(temperature=1.0)


# %%
def next_logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[:, -1, : pair.vocab_size]


def by_the_book(k):
    """Algorithm 1, token by token."""
    kept, sources = [], []
    for place in range(40):
        mine, theirs = (next_logits(m, prompt + kept) for m in (pair.student, pair.teacher))
        token = skd.sample(mine, plain, uniforms[0, :, place])
        stands = bool(skd.teacher_rank(theirs, token) <= k)
        if not stands:
            token = skd.sample(theirs, plain, uniforms[1, :, place])
        kept.append(int(token))
        sources.append("student" if stands else "teacher")
        if kept[-1] in pair.eos_token_ids:
            break
    return kept, sources


# %%
[rollout] = skd.interleaved_rollout(
    pair.student,
    pair.teacher,
    [prompt],
    accept_top_k=3,
    gamma=5,
    max_new_tokens=40,
    eos_token_ids=pair.eos_token_ids,
    student_policy=plain,
    teacher_policy=plain,
    uniforms=uniforms,
    vocab_size=pair.vocab_size,
)
ids, sources = by_the_book(3)
print("same ids:", ids == rollout.completion_ids.tolist())
print("same authors:", sources == list(rollout.trace.source))

# %% [markdown]
# ## What the student sees next
# ### Your guess first (03.2)
# The student proposed *in*, the teacher wrote *.* instead. The student's next proposal is drawn behind
# - **a** "the dog chases nothing in"
# - **b** "the dog chases nothing ."
# - **c** both, and the teacher picks one

# %%
check("03.2", ...)

# %% [markdown]
# ## How often will the teacher write?
# At one place this needs no drawing: the teacher writes exactly if the student's proposal falls outside
# the teacher's top K. So the chance is 1 minus the student's probability of those K words.

# %%
place = ["the", "dog"]
top = sorted(toy.teacher(place), key=toy.teacher(place).get, reverse=True)[:K]
inside = sum(student(place)[word] for word in top)
print("the teacher's top 3 behind 'the dog':", *top)
print("the student gives them", inside, "together, so the teacher writes with chance", 1 - inside)

# %% [markdown]
# ### Exercise 03.3 (5 minutes)
# A student gives *cat* 5/10, *dog* 2/10, *bird* 2/10, *tree* 1/10. The teacher's order is *dog, bird, cat, tree*.
# K is 2. With what chance does the word that stands read **dog**, if the teacher gives *dog* 4/10, *bird*
# 3/10, *cat* 2/10 and *tree* 1/10? (The word may come from the student, or from the teacher after a refusal.)
#
# <details><summary>Hint</summary>P(student proposes dog) + P(refused) times P(teacher draws dog).</details>

# %%
check("03.3", ...)

# %% [markdown]
# ## Recap
# The student proposes; the teacher only looks at the rank. What it refuses never enters the text; it
# writes there itself, drawn from its own law, and both go on from what stands. So the student is never
# far from where it would have gone, and never in a place where nobody would be.
#
# ## Sources
# - Xu et al. 2025, [Speculative Knowledge Distillation](https://arxiv.org/abs/2410.11325), Algorithm 1.
# - Leviathan et al. 2023, [Fast Inference from Transformers via Speculative
#   Decoding](https://arxiv.org/abs/2211.17192): the same dance with another rule; see notebook 05.
#
# Before: [02 Poorly ranked](02_poorly_ranked.ipynb). Next:
# [04 Where does the teacher step in?](04_where_does_the_teacher_step_in.ipynb)
