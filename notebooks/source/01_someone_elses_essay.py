# %% [markdown]
# # 01 Practising on someone else's essay
#
# **Why does a student trained on the teacher's text stumble on its own?**
#
# _About 20 minutes. No model is loaded: two dozen words, and fractions you can check on paper._
#
# After this notebook you can
# - say how likely a teacher finds a text, word by word, and add it up;
# - show where a student leaves everything it has ever read, and what happens next;
# - explain why more reading of the teacher's text does not cure it.

# %%
# SETUP

# %%
import math

from skd_lab.course import bars, check, explore, figure, side_by_side, token_cells, toy

library = toy.library(40)
student = toy.Reader(library)


def scored(text, title):
    """A text, each word shaded by the probability the teacher gave it."""
    chances = [toy.teacher(text[:i])[word] for i, word in enumerate(text)]
    unread = ["" if student.has_read(text[:i]) else "lost" for i in range(len(text))]
    notes = [f"{float(p):.2f}" for p in chances]
    return token_cells(text, [float(p) ** 0.5 for p in chances], notes, unread, title)


essay = library[3]
own = toy.write(student, toy.chances(120, 12))
figure(
    scored(essay, "a sentence of the teacher's") + scored(own, "a sentence of the student's own"),
    "Under each word the probability the teacher gives it, dark is likely; 'lost' marks a place "
    "whose last two words the student has never read side by side.",
)

# %% [markdown]
# ## The two characters
# The **teacher** knows the language: it looks at the last word and knows what may follow, whatever
# nonsense stands before. The **student** has read 39 of the teacher's sentences and counted what
# followed every *pair* of words. After a pair it has never met, it has no idea: any word will do.
#
# Like every softmax, the student also gives every word a little probability: one time in twenty it
# writes any word at all. That is all that is wrong with it.

# %%
for sentence in library[:4]:
    print(" ".join(sentence))
print()
print("the teacher, after 'the dog':   chases", toy.teacher(["the", "dog"])["chases"])
print("the student, after 'the dog':   chases", student(["the", "dog"])["chases"])
print("the student, after 'quietly in': chases", student(["quietly", "in"])["chases"])

# %% [markdown]
# ## By hand: be the student
# Chance comes as numbers between 0 and 1. Walk through the words in order, adding up their probabilities;
# write the word at which your sum passes the number. Here are the first three laws of this walk (only
# words above 2%), and the three numbers. Write three words on paper before you run the cell below.

# %%
numbers = toy.chances(120, 12)
text = []
pages = []
for number in numbers[:3]:
    law = student(text)
    likely = {word: float(p) for word, p in law.items() if p > 0.02}
    running, sums = 0, {}
    for word, p in law.items():
        running += p
        sums[word] = f"sum {float(running):.3f}"
    title = f"after '{' '.join(text) or '(nothing)'}', number {number}"
    pages.append(bars(likely, notes=sums, title=title, top=1))
    text.append(toy.draw(law, number))
figure(side_by_side(*pages), "Three laws of the student with running sums, one for each number.")

# %%
by_hand = ["the", "dog", "chases"]  # what the running sums gave on paper
assert by_hand == text == toy.write(student, numbers)[:3]
print("by hand and by the library:", by_hand == toy.write(student, numbers)[:3])

# %% [markdown]
# ## Surprise adds up
# A text's probability is the product of its words' probabilities. Its logarithm is a sum, so we count
# in *nats*: the surprise of a word is -ln of its probability. 0 nats is certain, 0.7 is a coin,
# 9 is one in ten thousand.

# %%
product = math.prod(toy.teacher(essay[:i])[word] for i, word in enumerate(essay))
total = sum(-math.log(toy.teacher(essay[:i])[word]) for i, word in enumerate(essay))
print(" ".join(essay))
print("probability as a fraction with", len(str(product.denominator)), "digits below the line")
print("surprise of its words:", round(total, 3), "nats")
print("-ln of the product:   ", round(-math.log(product), 3), "nats")

# %% [markdown]
# ### Exercise 01.1 (5 minutes)
# Write `teacher_logprob(words)`: the logarithm of the probability the teacher gives to a list of words.
#
# <details><summary>Hint</summary>A word is judged by what stands before it: <code>words[:i]</code>.</details>
# <details><summary>Help, my number is too large</summary>Log-probabilities are never above 0. Do you
# add probabilities instead of logarithms?</details>


# %%
def teacher_logprob(words): ...


check("01.1", teacher_logprob)

# %% [markdown]
# ## Your guess, then the picture
# Slide through forty essays by the student. How many words after the first **lost** do you expect it to
# find its way back?


# %%
def essay_number(seed):
    own = toy.write(student, toy.chances(99 + seed, 14))
    lost = sum(not student.has_read(own[:i]) for i in range(len(own)))
    nats = sum(-math.log(toy.teacher(own[:i])[word]) for i, word in enumerate(own)) / len(own)
    line = f"<div>lost at {lost} of {len(own)} places, {nats:.2f} nats a word</div>"
    return scored(own, f"essay {seed}") + line


explore(essay_number, "One essay of the student's; move the slider for another.", seed=(1, 40, 10))

# %% [markdown]
# ### Exercise 01.2 (5 minutes)
# Write `first_lost(words, has_read)`: the index of the first word that the student has to write without
# having read the two words before it side by side; `None` if there is none. `has_read(prefix)` is
# the student's own answer.


# %%
def first_lost(words, has_read):
    return ...


check("01.2", first_lost)

# %% [markdown]
# ## The gap
# Two ways to test the student at place *i* of a text: behind the teacher's words (as in training), or
# behind its own (as in use). How often is it lost?

# %%
from matplotlib.figure import Figure


def lost_at(place, writer):
    """How often the student is lost at a place behind a writer's words, of 400 texts."""
    texts = [toy.write(writer, toy.chances(seed, 14)) for seed in range(1000, 1400)]
    reached = [text[:place] for text in texts if len(text) > place]
    return sum(not student.has_read(prefix) for prefix in reached) / len(reached)


places = range(1, 13)
writers = {"behind the teacher's words": toy.teacher, "behind its own words": student}
lost = {name: [lost_at(i, writer) for i in places] for name, writer in writers.items()}
drawn = Figure(figsize=(6.4, 2.8), layout="constrained")
axes = drawn.subplots()
for (name, shares), style in zip(lost.items(), ("o-", "s--"), strict=True):
    axes.plot(list(places), [100 * share for share in shares], style, label=name)
axes.set(xlabel="place in the text", ylabel="lost, % of texts", ylim=(0, None))
axes.legend(frameon=False)
figure(
    drawn,
    "Behind the teacher's words the student is rarely lost at any place; behind its own words, "
    "more and more often.",
)

# %%
theirs, its_own = lost.values()
print("lost at least four times as often behind its own words:", sum(its_own) > 4 * sum(theirs))
print("and more often at place 12 than at place 3:", its_own[11] > its_own[2])

# %% [markdown]
# Nothing in the training text prepared the student for the place behind its own first slip: the teacher
# does not slip there. The name in the literature is *exposure bias* (Bengio et al. 2015; for distillation
# Agarwal et al. 2024).
#
# ### Exercise 01.3: predict, then run
# The student reads ten times as many sentences of the teacher's. The teacher's surprise at the student's
# **own** text is twice as large now as at a text of the teacher's. Then it will be
# - **a** close to that at the teacher's texts
# - **b** a little lower, still about twice as large
# - **c** higher than now

# %%
check("01.3", ...)


# %%
def surprise(model, seeds=range(3000, 3300)):
    """Mean surprise of the teacher on a model's own texts, nats a word."""
    own = [toy.write(model, toy.chances(seed, 14)) for seed in seeds]
    nats = [-math.log(toy.teacher(t[:i])[t[i]]) for t in own for i in range(len(t))]
    return sum(nats) / len(nats)


figure(
    bars(
        {
            "teacher": surprise(toy.teacher),
            "read 20": surprise(toy.Reader(toy.library(20))),
            "read 40": surprise(student),
            "read 400": surprise(toy.Reader(toy.library(400))),
        },
        title="the teacher's surprise at a text written by ... (nats a word)",
    ),
    "Reading twenty times as much lowers the surprise only a little: the way back is in no book.",
)

# %% [markdown]
# ## What would help?
# Two ways out, and both have a price:
# 1. **Practise on your own essays**, and let the teacher say at every word what it would have written
#    (on-policy distillation). But a weak student's essays are mostly places where nobody would ever be,
#    and the teacher's advice there is worth little.
# 2. **Write together**: the student proposes a word; if the teacher finds it acceptable it stands, if not
#    the teacher writes one. The text stays near what the student does *and* near what makes sense. That is
#    Speculative Knowledge Distillation. "Acceptable" is the next notebook.
#
# ## Recap
# A student that learns from finished texts is only ever asked about places the teacher visits. One slip
# leads to a place it has never seen, and from there it does not find back. More of the same text does not
# help: the missing lesson is what to do after an error.
#
# ## Sources
# - Bengio et al. 2015, [Scheduled Sampling](https://arxiv.org/abs/1506.03099): the train and use mismatch.
# - Agarwal et al. 2024, [On-Policy Distillation of Language Models](https://arxiv.org/abs/2306.13649).
# - Xu et al. 2025, [Speculative Knowledge Distillation](https://arxiv.org/abs/2410.11325), section 1.
#
# Next: [02 Poorly ranked](02_poorly_ranked.ipynb)
