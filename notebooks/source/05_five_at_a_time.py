# %% [markdown]
# # 05 Five at a time
#
# **If the student drafts five tokens before the teacher looks, is it still the same text?**
#
# _About 25 minutes._
#
# After this notebook you can
# - prove, for a small vocabulary, that block verification has the law of token by token;
# - count the forwards that drafting saves and the proposals it throws away;
# - say how SKD differs from lossless speculative decoding, in one number.

# %%
# SETUP

# %%
import itertools
from fractions import Fraction

from skd_lab.course import bars, check, explore, figure, side_by_side, token_cells

stands = [True, True, False, True, True, True, True, True, False, True, True, True]


def drafted(gamma):
    """The same twelve verdicts, read in blocks: what is drafted behind a refusal is thrown away."""
    rows, place, wasted, blocks = "", 0, 0, 0
    while place < len(stands):
        block = stands[place : place + gamma]
        refused = block.index(False) if False in block else None
        kept = len(block) if refused is None else refused + 1
        words = [f"{place + i + 1}" for i in range(len(block))]
        notes = [
            "stands" if i < kept and ok else "refused" if i < kept else "unread"
            for i, ok in enumerate(block)
        ]
        shades = [0.6 if note == "stands" else 0.0 for note in notes]
        marks = ["teacher" if note == "refused" else "" for note in notes]
        rows += token_cells(words, shades, notes, marks, f"block {blocks + 1}")
        place, wasted, blocks = place + kept, wasted + len(block) - kept, blocks + 1
    said = f"{blocks} forwards of the teacher, {len(stands) + wasted} of the student, "
    said += f"{wasted} proposals thrown away."
    return f"{rows}<p>{said}</p>"


explore(
    drafted, "Twelve places of one text, verified in blocks of gamma proposals.", gamma=(1, 8, 5)
)

# %% [markdown]
# ## Why blocks?
# Verifying one token costs a whole forward of the teacher, and on a GPU a forward over five tokens takes
# hardly longer than over one. So the student drafts **gamma** tokens on its own, and one forward of the
# teacher ranks them all. The first refused one is replaced, everything drafted behind it is thrown away, and
# the student starts drafting anew behind the replacement.
#
# Is anything lost? The student drafted its second token in the belief that its first one would stand.
#
# ## By hand: all texts of two words
# Three words and two places make nine texts, so all of them can be written down. The laws of the student
# and of the teacher at the second place depend on the first word.

# %%
F = Fraction
STUDENT = {
    (): {"a": F(5, 10), "b": F(3, 10), "c": F(2, 10)},
    ("a",): {"a": F(6, 10), "b": F(1, 10), "c": F(3, 10)},
    ("b",): {"a": F(2, 10), "b": F(2, 10), "c": F(6, 10)},
    ("c",): {"a": F(1, 3), "b": F(1, 3), "c": F(1, 3)},
}
TEACHER = {
    (): {"a": F(2, 10), "b": F(7, 10), "c": F(1, 10)},
    ("a",): {"a": F(1, 10), "b": F(8, 10), "c": F(1, 10)},
    ("b",): {"a": F(3, 10), "b": F(1, 10), "c": F(6, 10)},
    ("c",): {"a": F(4, 10), "b": F(5, 10), "c": F(1, 10)},
}


def top(prefix, k):
    return sorted(TEACHER[prefix], key=TEACHER[prefix].get, reverse=True)[:k]


def one_place(prefix, k):
    """The law of the word that ends up there: by the student, or by the teacher instead."""
    refused = sum(p for word, p in STUDENT[prefix].items() if word not in top(prefix, k))
    return {
        word: (p if word in top(prefix, k) else 0) + refused * TEACHER[prefix][word]
        for word, p in STUDENT[prefix].items()
    }


# on paper, K = 1: the teacher's first choice is b, so a and c are refused: 5/10 + 2/10 = 7/10
by_hand = {"a": F(7, 10) * F(2, 10), "b": F(3, 10) + F(7, 10) * F(7, 10), "c": F(7, 10) * F(1, 10)}
assert by_hand == one_place((), 1)
print("first word, by hand and by code:", by_hand == one_place((), 1))
print({word: str(p) for word, p in by_hand.items()}, "add up to", sum(by_hand.values()))


# %%
def token_by_token(k):
    """The law of texts of two words, one place after the other."""
    return {
        (x, y): one_place((), k)[x] * one_place((x,), k)[y]
        for x, y in itertools.product("abc", repeat=2)
    }


def in_blocks(k):
    """The law if the student drafts both words before the teacher looks: all nine drafts."""
    law = dict.fromkeys(itertools.product("abc", repeat=2), F(0))
    for x, y in law:
        drafted = STUDENT[()][x] * STUDENT[(x,)][y]
        if x not in top(
            (), k
        ):  # refused: y is thrown away, and drafted anew behind the replacement
            for z in "abc":
                for w in "abc":
                    law[z, w] += drafted * TEACHER[()][z] * one_place((z,), k)[w]
        elif y not in top((x,), k):
            for w in "abc":
                law[x, w] += drafted * TEACHER[(x,)][w]
        else:
            law[x, y] += drafted
    return law


for k in (1, 2, 3):
    print(f"K = {k}: the same nine fractions:", token_by_token(k) == in_blocks(k))

# %% [markdown]
# Equal as fractions, not nearly equal. What is thrown away was drawn with numbers that had no
# influence on anything that stands; drafting anew behind the replacement is exactly what token by
# token would do.
#
# ### Exercise 05.1 (5 minutes)
# Write `first_rejection(ranks, k)`: the index of the first proposal that is refused, or `None`.


# %%
def first_rejection(ranks, k):
    return ...


check("05.1", first_rejection)

# %% [markdown]
# ## Neither the teacher's law nor the student's
# Lossless speculative decoding (Leviathan et al. 2023) drafts in the same way, but with another rule: a
# proposal *x* stands with chance min(1, teacher(x) / student(x)), and a replacement is drawn from what
# the teacher has more of than the student. Its text has exactly the teacher's law. SKD's has not, and does
# not want to: it stays as near to the student as the teacher's top K allows.


# %%
def lossless(prefix):
    """The law of one place under the lossless rule."""
    mine, theirs = STUDENT[prefix], TEACHER[prefix]
    stands = {word: min(mine[word], theirs[word]) for word in mine}
    more = {word: max(theirs[word] - mine[word], F(0)) for word in mine}
    refused = 1 - sum(stands.values())
    return {word: stands[word] + refused * more[word] / sum(more.values()) for word in mine}


print(
    "lossless gives the teacher's law everywhere:", all(lossless(p) == TEACHER[p] for p in TEACHER)
)
print("SKD gives the teacher's law:", all(one_place((), k) == TEACHER[()] for k in (1, 2)))
print("SKD with K = 3 of 3 gives the student's law:", one_place((), 3) == STUDENT[()])


# %%
def places(K):
    laws = {"student": STUDENT[()], f"SKD, K = {K}": one_place((), K), "teacher": TEACHER[()]}
    sides = []
    for title, law in laws.items():
        sides.append(bars({word: float(p) for word, p in law.items()}, title=title, top=1))
    return side_by_side(*sides)


explore(
    places,
    "The law of the first word: SKD lies between, nearer to the student the larger K is.",
    K=(1, 3, 1),
)

# %% [markdown]
# ## The library
# `interleaved_rollout` takes one number a place for the student and one for the teacher, whatever gamma is.
# ### Your guess first (05.2)
# With the same numbers, the texts for gamma 1, 3, 5 and 8 are
# - **a** equal in law, but different texts
# - **b** the same texts, token for token
# - **c** longer for larger gamma

# %%
check("05.2", ...)

# %%
import skd_lab as skd

pair = skd.load_pair("tiny-qwen3", dtype="float64", device="cpu")
examples = skd.get_task("summaries").load("test", n=16)
encoded = skd.encode_examples(pair.tokenizer, examples, max_prompt_tokens=512).encoded
prompts = [row.prompt_ids for row in encoded]
uniforms = skd.draw_uniforms(seed=1, rows=len(prompts), max_new_tokens=48)


def write(gamma, rows=range(16)):
    """Completions of some rows, each with its own numbers."""
    return skd.interleaved_rollout(
        pair.student,
        pair.teacher,
        [prompts[row] for row in rows],
        accept_top_k=2,
        gamma=gamma,
        max_new_tokens=48,
        eos_token_ids=pair.eos_token_ids,
        student_policy=skd.SamplingPolicy(),
        teacher_policy=skd.SamplingPolicy(),
        uniforms=uniforms[:, list(rows)],
        vocab_size=pair.vocab_size,
    )


def ids(rollouts):
    return [rollout.completion_ids.tolist() for rollout in rollouts]


one = ids(write(1))
for gamma in (3, 5, 8, "adaptive"):
    print(f"gamma {gamma!s:<9} the same 16 texts: {ids(write(gamma)) == one}")
print(
    "one prompt at a time, the same texts:", [ids(write(5, [row]))[0] for row in range(16)] == one
)

# %% [markdown]
# In float64, that is. In float32 two ways to compute one logit differ in the last digit, and about once in
# ten thousand draws that decides a draw: the same law, seldom another text.
#
# ## What it costs
# ### Exercise 05.3 (8 minutes)
# Write `teacher_forwards(stands, gamma)`: `stands` is a list of True and False, one for every place of the
# text, as at the top of this notebook. How many blocks does the teacher verify?
#
# <details><summary>Hint</summary>A block ends after gamma places, at a refusal, or at the end of the
# text.</details>


# %%
def teacher_forwards(stands, gamma):
    return ...


check("05.3", teacher_forwards)

# %%
rollouts = write(5)
tokens = sum(len(rollout.completion_ids) for rollout in rollouts)
blocks = {}
for gamma in (1, 2, 3, 5, 8):
    written = write(gamma)
    blocks[f"gamma {gamma}"] = sum(int(r.trace.block.max()) + 1 for r in written) / tokens
figure(
    bars(blocks, title="forwards of the teacher for one kept token", top=1),
    "With blocks of five the teacher is asked far less often than once a token; larger blocks "
    "save little more.",
)

# %%
shares = list(blocks.values())
print("fewer with every larger gamma:", shares == sorted(shares, reverse=True))
print("gamma 1 asks once a token:", shares[0] == 1)
print("from 5 to 8 saves less than from 1 to 3:", shares[3] - shares[4] < shares[0] - shares[2])

# %% [markdown]
# ## Recap
# Drafting changes what a text costs, never what it says: a refused proposal takes the rest of its block
# with it, and the student goes on from the replacement as if it had never drafted. SKD's law lies between
# the student's and the teacher's; the lossless rule's law is the teacher's.
#
# ## Sources
# - Leviathan et al. 2023, [Fast Inference from Transformers via Speculative
#   Decoding](https://arxiv.org/abs/2211.17192).
# - Xu et al. 2025, [Speculative Knowledge Distillation](https://arxiv.org/abs/2410.11325), section 3.
# - `docs/performance.md` has the measured cost by gamma, batch and length.
#
# Before: [03 Accept or replace](03_accept_or_replace.ipynb). Next:
# [06 Which mistakes hurt?](06_which_mistakes_hurt.ipynb)
