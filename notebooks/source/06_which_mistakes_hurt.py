# %% [markdown]
# # 06 Which mistakes hurt?
#
# **Of two wrong students, which one does the loss punish more, and at which places is it asked?**
#
# _About 25 minutes._
#
# After this notebook you can
# - compute a KL divergence with a pocket calculator, in both directions;
# - say what forward KL, reverse KL and Jensen-Shannon each let pass;
# - find the one-place shift that ruins a distillation without any error message.

# %%
# SETUP

# %%
import math

from skd_lab.course import bars, check, explore, figure, side_by_side

teacher = {"cat": 0.48, "dog": 0.48, "bird": 0.04}


def kl(p, q):
    """KL(p || q) in nats: how surprised one is by p who expected q."""
    return sum(p[w] * math.log(p[w] / q[w]) for w in p if p[w] > 0)


def jsd(p, q):
    """Jensen-Shannon: both against their average; never more than ln 2."""
    middle = {w: (p[w] + q[w]) / 2 for w in p}
    return (kl(p, middle) + kl(q, middle)) / 2


def student_with(cat, bird):
    """A student by the share of 'bird', and of 'cat' in what is left."""
    return {"cat": (1 - bird) * cat, "dog": (1 - bird) * (1 - cat), "bird": bird}


def compare(cat, bird):
    student = student_with(cat, bird)
    values = {
        "forward KL": kl(teacher, student),
        "reverse KL": kl(student, teacher),
        "JSD": jsd(teacher, student),
    }
    return side_by_side(
        bars(teacher, title="teacher", top=1),
        bars(student, title="student", top=1),
        bars(values, title="divergence, nats", top=2),
    )


explore(
    compare,
    "Move the student away from the teacher and watch which divergence minds.",
    cat=(0.01, 0.99, 0.95, 0.01),
    bird=(0.01, 0.9, 0.01, 0.01),
)

# %% [markdown]
# ## Two directions
# **Forward KL**, KL(teacher || student), asks: how surprised is the student by what the *teacher* writes? It
# is large where the student gives little to a word the teacher likes. **Reverse KL**, KL(student ||
# teacher), asks how surprised the teacher is by what the *student* writes: it is large where the student
# likes a word the teacher would not write.
#
# ## By hand
# The teacher gives *cat* 1/2, *dog* 1/4, *bird* 1/4; the student 1/4, 1/4, 1/2. A pocket calculator is enough: ln 2 =
# 0.693.

# %%
import torch

import skd_lab as skd

p = {"cat": 1 / 2, "dog": 1 / 4, "bird": 1 / 4}
q = {"cat": 1 / 4, "dog": 1 / 4, "bird": 1 / 2}
by_hand = 1 / 2 * math.log(2) + 1 / 4 * 0 - 1 / 4 * math.log(2)  # = ln(2) / 4

logs = [torch.tensor([list(each.values())], dtype=torch.float64).log() for each in (q, p)]
library = skd.forward_kl(*logs).item()  # student first, teacher second
assert math.isclose(by_hand, library, abs_tol=1e-12)
print("by hand:", round(by_hand, 6), "  by the library:", round(library, 6))
print("zero for equals:", skd.forward_kl(logs[0], logs[0]).item() == 0.0)

# %% [markdown]
# ## Your guess first (06.1)
# The teacher finds *cat* and *dog* equally good. A student that can only do one of them puts nearly all its
# mass on *cat*. Which loss is the more content with it?
# - **a** forward KL
# - **b** reverse KL
# - **c** both alike

# %%
check("06.1", ...)

# %%
from matplotlib.figure import Figure

shares = [i / 100 for i in range(1, 100)]
curves = {
    "forward KL": [kl(teacher, student_with(cat, 0.04)) for cat in shares],
    "reverse KL": [kl(student_with(cat, 0.04), teacher) for cat in shares],
    "JSD": [jsd(teacher, student_with(cat, 0.04)) for cat in shares],
}
birds = {
    "forward KL": [kl(teacher, student_with(0.5, bird)) for bird in shares],
    "reverse KL": [kl(student_with(0.5, bird), teacher) for bird in shares],
    "JSD": [jsd(teacher, student_with(0.5, bird)) for bird in shares],
}
drawn = Figure(figsize=(7.6, 3.0), layout="constrained")
axes = drawn.subplots(1, 2, sharey=True)
for axis, lines, label in (
    (axes[0], curves, "the student's share of 'cat' against 'dog'"),
    (axes[1], birds, "the student's probability of 'bird'"),
):
    for (name, values), style in zip(lines.items(), ("-", "--", ":"), strict=True):
        axis.plot(shares, values, style, linewidth=2, label=name)
    axis.set(xlabel=label, ylim=(0, 2.5))
axes[0].set_ylabel("nats")
axes[0].legend(frameon=False)
figure(
    drawn,
    "Left, dropping one of two good words: forward KL rises without end, reverse KL stays below "
    "ln 2. Right, writing a word the teacher does not like: reverse KL rises faster.",
)

# %%
drop, babble = student_with(0.999, 0.04), student_with(0.5, 0.9)
print("dropping a good word hurts more forward:", kl(teacher, drop) > kl(drop, teacher))
print("reverse KL forgives it, below ln 2:", kl(drop, teacher) < math.log(2))
print("babbling hurts more in reverse:", kl(babble, teacher) > kl(teacher, babble))
print("JSD is never above ln 2:", max(jsd(teacher, drop), jsd(teacher, babble)) <= math.log(2))

# %% [markdown]
# Forward KL makes a student *cover* all that the teacher might say, at the price of some babble; reverse KL
# makes it *choose*, at the price of variety. The paper trains with forward KL; `--objective` has seven.
#
# ## From one place to a text
# The loss of a text is the mean over its completion tokens. Not over the prompt: the student did not write
# that.
#
# ### Exercise 06.2 (8 minutes)
# Write `token_mean_kl(teacher_logits, student_logits, mask)`. The logits are tensors of shape [tokens, words],
# the mask has 1 for tokens that count and 0 for the others. Forward KL, in nats.
#
# <details><summary>Hint</summary><code>torch.log_softmax(logits, -1)</code> gives log-probabilities.
# </details>
# <details><summary>Help, case 3 fails</summary>Divide by how many tokens count, not by how many there
# are.</details>


# %%
def token_mean_kl(teacher_logits, student_logits, mask):
    return ...


check("06.2", token_mean_kl)

# %% [markdown]
# ## The shift
# A language model's logits at position *t* are about the token at *t + 1*. With a prompt of P tokens in a text
# of L, the completion's tokens stand at P ... L - 1, and the logits that **predict** them at P - 1 ... L - 2. Take
# P ... L - 1 and everything still runs, the loss still falls, and the student never learns how to begin.


# %%
def drawn_shift(P, use_wrong_rows):
    words = ["say", "what", "cat", "sleeps", "</s>"]
    rows = range(P, 5) if use_wrong_rows else range(P - 1, 4)
    table = [["position", "token", "part", "its logits are about", "in the loss"]]
    for t, word in enumerate(words):
        about = words[t + 1] if t + 1 < 5 else "(nothing)"
        part = "prompt" if t < P else "completion"
        table.append([str(t), word, part, about, "counted" if t in rows else ""])
    lines = ["<tr><td>" + "</td><td>".join(row) + "</td></tr>" for row in table]
    return f'<table style="border-spacing:12px 2px;text-align:left">{"".join(lines)}</table>'


explore(
    drawn_shift, "Which positions' logits belong in the loss.", P=(1, 4, 2), use_wrong_rows=False
)

# %% [markdown]
# ### Exercise 06.3 (3 minutes)
# Write `completion_positions(P, L)`: the positions whose logits belong in the loss, as a list.


# %%
def completion_positions(P, L):
    return ...


check("06.3", completion_positions)

# %% [markdown]
# A test that fails if the shift is wrong: two models that agree about every completion token, and disagree
# only about what comes *after* the text. A right loss is zero.


# %%
def loss_with(positions, ours, theirs):
    mine, other = (torch.log_softmax(each[positions], -1) for each in (ours, theirs))
    return skd.forward_kl(mine, other).mean().item()


generator = torch.Generator().manual_seed(0)
ours = torch.randn(5, 6, generator=generator, dtype=torch.float64)
theirs = ours.clone()
theirs[4] += torch.randn(6, generator=generator, dtype=torch.float64)  # about what follows the end
P, L = 2, 5
print("right rows, loss is zero:", loss_with(list(range(P - 1, L - 1)), ours, theirs) == 0.0)
print("wrong rows, loss is zero:", loss_with(list(range(P, L)), ours, theirs) == 0.0)

# %% [markdown]
# ## Recap
# A divergence is a taste: forward KL punishes what the student leaves out, reverse KL what it makes up, JSD
# both a little. The loss is the mean over the completion's tokens, taken from the logits one place
# *before* each.
#
# ## Sources
# - Agarwal et al. 2024, [On-Policy Distillation of Language Models](https://arxiv.org/abs/2306.13649): the
#   generalised JSD.
# - Gu et al. 2024, [MiniLLM](https://arxiv.org/abs/2306.08543): the case for reverse KL.
# - Xu et al. 2025, [Speculative Knowledge Distillation](https://arxiv.org/abs/2410.11325), Eq. 1.
#
# Before: [05 Five at a time](05_five_at_a_time.ipynb). Next:
# [07 Train the student](07_train_the_student.ipynb)
