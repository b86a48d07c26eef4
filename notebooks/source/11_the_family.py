# %% [markdown]
# # 11 The family
#
# **Many methods claim to beat plain distillation: which of their claims survive a control, here?**
#
# _About 30 minutes._
#
# After this notebook you can
# - read a card: what a method does, what it claims, and which arm would show the claim empty;
# - show that two papers' losses are one: a policy gradient whose mean is the gradient of reverse KL;
# - name the control a claim needs, and judge five seeds.
#
# The systems here are **small rebuilds**, each "after" its paper, with what was read and what was chosen on its card.
# What holds on a small model need not hold on a large one, and the other way round.

# %%
# SETUP

# %%
from skd_lab import family
from skd_lab.course import bars, check, explore, figure

cards = sorted(  # those with records first, and of these the systems before the neighbours
    family.show(family.CARDS.values()),
    key=lambda each: (each.verdict is None, each.card.group != "system"),
)
shown = {each.card.name: each for each in cards}
WORDS = {"held": "held", "tied": "the control ties", "lost": "the control wins"}


def outcome(each):
    if each.verdict:
        return WORDS[each.verdict.outcome]
    return "not measured here" if each.card.demo else "shared comparison"


counts = {}
for each in shown.values():
    counts[outcome(each)] = counts.get(outcome(each), 0) + 1


def row(*cells, bold=False):
    """A line of a table that brings its own paper and ink, for dark themes."""
    style = "text-align:left;vertical-align:top;white-space:normal;color:#1a1a1a;padding:3px 12px"
    weight = "font-weight:600" if bold else "font-weight:400"
    made = "".join(f"<td style='{style};{weight}'>{cell}</td>" for cell in cells)
    return f"<tr style='background:#fff;border-bottom:1px solid #ccc'>{made}</tr>"


rows = row("system", "its control", "against it, here", bold=True)
for each in shown.values():
    rows += row(each.card.title, each.card.control, outcome(each))
print(len(shown), "cards:", counts)
figure(
    f"<table>{rows}</table>",
    "Every card with the control that would show its claim empty. Those without a demonstration "
    "run in the shared comparison with SKD.",
)

# %% [markdown]
# ## One card at a time
# A card is plain data: what it does, how it relates to SKD, its claim and control. Its figure is drawn from
# records of five seeds. Where the control ties or wins, the card says so first.

# %%
from html import escape


def card_of(card):
    each = shown[card]
    said = each.verdict.text if each.verdict else ""
    blocks = [
        f"<b style='font-size:17px'>{escape(each.card.title)}</b><br>{escape(each.card.paper)}",
        f"<b>{escape(each.first_words)}</b> {escape(said.replace('+-', '±'))}",
        escape(" ".join(each.card.sentences)),
        f"<b>Claim.</b> {escape(each.card.statement)}",
        f"<b>Control.</b> {escape(each.card.control)}.",
        f"<b>Run it.</b> <code>{escape(each.card.command)}</code>",
    ]
    drawn = ""
    if each.verdict:
        drawn = figure(each.card.demo.figure(each.rows), "records of the demonstration").html
    words = "".join(f"<p style='margin:6px 0'>{block}</p>" for block in blocks)
    return f"<div style='max-width:46em'>{words}</div>{drawn}"


explore(
    card_of,
    "A card. Diamonds: the system. Squares: its control. Dots: each seed. Line: one sd.",
    card=list(shown),
)

# %% [markdown]
# All of them, folded: the equation, what held and what did not, what was chosen here. (In a terminal: `skd-lab family`,
# and `skd-lab family NAME`.)

# %%
from IPython.display import Markdown

folded = []
for each in shown.values():
    lists = {
        "Held": each.card.held,
        "Did not": each.card.failed,
        "Chosen here": each.card.choices,
    }
    said = "\n".join(f"- **{name}**: {'; '.join(items)}" for name, items in lists.items() if items)
    folded.append(
        f"<details><summary>{each.card.title} ({outcome(each)})</summary>\n\n"
        f"$${each.card.equation}$$\n\n{said}\n\n</details>"
    )
Markdown("\n".join(folded))

# %% [markdown]
# ## By hand: a divergence that cannot explode
# The teacher writes *cat* and *dog* alike; the student knows only *cat*. Forward KL is infinite: the student gave a word
# of the teacher's no chance at all. DistiLLM compares the teacher with a **mixture** that holds a share of the
# teacher itself, the *skew*. With a skew of one half the mixture is 3/4 and 1/4, so on paper:
# 1/2 ln(2/3) + 1/2 ln 2 = 1/2 ln(4/3).

# %%
import math

import torch

import skd_lab as skd

p = torch.tensor([[0.5, 0.5]], dtype=torch.float64)  # the teacher: cat, dog
q = torch.tensor([[1.0, 0.0]], dtype=torch.float64)  # the student
by_hand = 0.5 * math.log(4 / 3)
library = skd.skewed_forward_kl(q.log(), p.log(), alpha=0.5).item()  # student first
assert math.isclose(by_hand, library, abs_tol=1e-12)
print("by hand:", round(by_hand, 6), "  by the library:", round(library, 6))
print("forward KL is infinite:", math.isinf(skd.forward_kl(q.log(), p.log()).item()))

# %%
from matplotlib.figure import Figure

chances = [10 ** (-8 + i / 25) for i in range(193)]  # of dog, in the student's eyes
law = torch.tensor([[1 - c, c] for c in chances], dtype=torch.float64).log()
half = p.log().expand_as(law)
curves = {"forward KL": skd.forward_kl(law, half)}
for skew in (0.01, 0.1, 0.5):
    curves[f"skew {skew}"] = skd.skewed_forward_kl(law, half, alpha=skew)
drawn = Figure(figsize=(7.0, 2.9), layout="constrained")
axes = drawn.subplots()
for (name, values), style in zip(curves.items(), ("-", "--", "-.", ":"), strict=True):
    axes.plot(chances, values.tolist(), style, linewidth=2, label=name)
axes.set(xscale="log", xlabel="the student's probability of 'dog' (teacher: one half)")
axes.set(ylabel="nats", ylim=(0, 4))
axes.legend(frameon=False)
figure(drawn, "The worse the student, the more forward KL shouts; the skewed ones stop at a level.")

# %%
for skew in (0.01, 0.1, 0.5):
    most = curves[f"skew {skew}"].max().item()
    print(f"skew {skew}: never above -ln(skew) = {-math.log(skew):.2f}:", most <= -math.log(skew))

# %% [markdown]
# ### Exercise 11.1 (8 minutes)
# Write `skewed_kl(teacher, student, skew)`. The laws are lists of probabilities in the same order; the mixture is
# `skew` times the teacher and the rest the student. In nats.
#
# <details><summary>Hint</summary>KL(teacher || mixture): the sum of p ln(p / mixture).</details>
# <details><summary>Help, ZeroDivisionError or math domain error</summary>A word that the teacher rules out
# adds nothing: skip it before you take a logarithm.</details>


# %%
def skewed_kl(teacher, student, skew):
    return ...


check("11.1", skewed_kl)

# %% [markdown]
# ## By hand: a reward that is a divergence
# Another recipe lets the student write, and rewards each word by how much more the teacher likes it than the
# student: the *advantage* A = ln p - ln q. The loss of a drawn word y is -A ln q(y). Reinforcement learning, it
# seems. Three words, student 1/2, 1/4, 1/4, teacher 1/4, 1/4, 1/2, so the advantages are -ln 2, 0 and ln 2.
#
# The derivative of ln q(y) by the logit of word i is 1 (if i = y) minus q(i). Add up all three draws, each with its
# chance, and divide by ln 2. On paper: 3/8, -1/16, -5/16. And the gradient of reverse KL?

# %%
student, teacher = [0.5, 0.25, 0.25], [0.25, 0.25, 0.5]
by_hand = [3 / 8 * math.log(2), -1 / 16 * math.log(2), -5 / 16 * math.log(2)]

logits = torch.tensor(student, dtype=torch.float64).log().requires_grad_()
theirs = torch.tensor(teacher, dtype=torch.float64).log()
skd.reverse_kl(logits.log_softmax(-1)[None], theirs[None]).sum().backward()
library = logits.grad.tolist()
same = all(math.isclose(a, b, abs_tol=1e-12) for a, b in zip(by_hand, library, strict=True))
assert same
print("policy gradient, all draws:", [round(each, 4) for each in by_hand])
print("reverse KL, by autograd:   ", [round(each, 4) for each in library])
print("the same:", same)

# %% [markdown]
# ### Exercise 11.2 (10 minutes)
# Write `expected_gradient(student, teacher)`: the mean over all draws of the gradient of -A ln q(y), one number for each
# word's logit.
#
# <details><summary>Hint</summary>Two loops: over the word that is drawn (weight: the student's probability), and over
# the logit.</details>


# %%
def expected_gradient(student, teacher):
    return ...


check("11.2", expected_gradient)

# %% [markdown]
# The mean is the same; an update does not see the mean. It sees a few draws:

# %%
generator = torch.Generator().manual_seed(0)
q = torch.tensor(student, dtype=torch.float64)
gain = theirs - q.log()
each_draw = -gain[:, None] * (torch.eye(3, dtype=torch.float64) - q)  # row: word drawn
exact = torch.tensor(library)
noise = {}
for count in (1, 4, 16, 64, 256):
    drawn_words = torch.multinomial(q, 400 * count, replacement=True, generator=generator)
    means = each_draw[drawn_words].reshape(400, count, 3).mean(1)
    noise[f"draws: {count}"] = (
        (means - exact).square().sum(-1).mean().sqrt() / exact.norm()
    ).item()
levels = list(noise.values())
print("less with every fourfold number of draws:", levels == sorted(levels, reverse=True))
figure(
    bars(noise, title="error of the sampled gradient, in lengths of the exact one"),
    "Four times the draws halve the error. Reverse KL over the whole vocabulary has none: the "
    "control of this card is the same gradient without its noise.",
)

# %% [markdown]
# ## What a control is for
# ### Your guess first (11.3)
# A method weighs the tokens of the loss: much where the teacher was right, little where it was wrong. Its student
# beats plain distillation. Which further run would show that the weights do nothing?
# - **a** training without a teacher
# - **b** the same weights, in shuffled order
# - **c** a larger teacher with the weights

# %%
check("11.3", ...)

# %% [markdown]
# ### Exercise 11.4 (8 minutes)
# Write `verdict(differences)`: five numbers, method minus control, one for each seed. With mean m and standard deviation s
# (dividing by n - 1), the 95% interval of the mean is m ± 2.776 s / √5. Give back `"held"` if it lies above
# 0, `"lost"` if below, `"tied"` if 0 is inside.
#
# <details><summary>Hint</summary><code>statistics.fmean</code> and <code>statistics.stdev</code>.</details>


# %%
def verdict(differences):
    return ...


check("11.4", verdict)

# %% [markdown]
# ## The same loss on the same text
# What do the divergences of these papers say of one pair? They are computed below at every token of 16 reference texts.
# On a GPU with a hub in reach the pair is Qwen3, elsewhere a bundled one.

# %%
from skd_lab.course import real_models_available

if real_models_available(8):
    pair = skd.load_pair(student="Qwen/Qwen3-0.6B", teacher="Qwen/Qwen3-1.7B", dtype="bfloat16")
else:
    pair = skd.load_pair("tiny-qwen3", device="cpu")
print("models:", pair.names["student"], "and", pair.names["teacher"])
examples = skd.get_task("summaries").load("test", n=16)
encoded = skd.encode_examples(pair.tokenizer, examples, max_prompt_tokens=512).encoded
laws = {"student": [], "teacher": []}
for row in encoded:
    ids = torch.tensor([row.prompt_ids + row.reference_ids], device=pair.student.device)
    places = slice(len(row.prompt_ids) - 1, ids.shape[1] - 1)  # one before each token: notebook 06
    for role, model in (("student", pair.student), ("teacher", pair.teacher)):
        with torch.no_grad():
            logits = model(ids).logits[0, places, : pair.vocab_size]
        laws[role].append(logits.float().log_softmax(-1).cpu())
mine, theirs = (torch.cat(each) for each in laws.values())
found = {
    "forward KL": skd.forward_kl(mine, theirs),
    "reverse KL": skd.reverse_kl(mine, theirs),
    "skew 0.1": skd.skewed_forward_kl(mine, theirs, alpha=0.1),
    "JSD": skd.generalized_jsd(mine, theirs, beta=0.5),
    "TV": skd.total_variation(mine, theirs),
}
means = {name: values.mean().item() for name, values in found.items()}
print(len(mine), "tokens; the skewed one is the smaller:", means["skew 0.1"] < means["forward KL"])
figure(
    bars(means, title="mean over the tokens, nats (TV: a probability)"),
    "One pair, one text, five numbers: a loss below another's is no merit.",
)

# %%
top = {name: values.topk(len(values) // 10).values.sum() for name, values in found.items()}
shares = {name: (top[name] / found[name].sum()).item() for name in found}
figure(
    bars(shares, title="share of the sum that the worst tenth of the tokens holds", top=1),
    "Where a loss looks: the larger its worst tenth, the more a few tokens decide the update.",
)

# %% [markdown]
# ## Recap
# Most of the family differs in three things: whose text, which divergence, which tokens count. Some differences are
# in name only: a policy gradient with that reward is reverse KL with noise. A claim is worth as much as the control
# beside it; the first table counts how many hold up against theirs.
#
# ## Sources
# - Ko et al. 2024, [DistiLLM](https://arxiv.org/abs/2402.03898): skewed KL.
# - Gu et al. 2024, [MiniLLM](https://arxiv.org/abs/2306.08543): reverse KL by policy gradient.
# - Niu et al. 2024, [CMKD](https://arxiv.org/abs/2410.06561): correlations.
# - `docs/family.html` has all cards with figures; `skd-lab family --rerun NAME` makes a card's records again.
#
# Before: [10 Real tokenizers, real teachers](10_real_tokenizers_real_teachers.ipynb). Next:
# [12 Your own task](12_your_own_task.ipynb)
