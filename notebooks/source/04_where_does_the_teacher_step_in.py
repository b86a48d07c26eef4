# %% [markdown]
# # 04 Where does the teacher step in?
#
# **In a whole text, which tokens does the teacher refuse, and what would another K have done?**
#
# _About 25 minutes._
#
# After this notebook you can
# - read a token strip: what was proposed, what was refused, what was written instead;
# - measure how often the teacher steps in, for every K, on 32 prompts;
# - judge a recorded run again with another K, and say from which token on the record is silent.

# %%
# SETUP

# %% [markdown]
# ## The pencil first
# Below stands what the student proposed, one token after the other, each behind the text as it stood
# *then*. Where would you step in? Read the prompt, and note the numbers of the tokens you would refuse. A `␣`
# is a space. (At a refused place another token stands in the text than the one you see here.)

# %%
import skd_lab as skd
from skd_lab.course import check, explore, figure, real_models_available, token_cells

REAL = real_models_available(8)
if REAL:
    pair = skd.load_pair(student="Qwen/Qwen3-0.6B", teacher="Qwen/Qwen3-1.7B", dtype="bfloat16")
else:
    pair = skd.load_pair("tiny-qwen3", dtype="float64", device="cpu")  # equal means equal, below
print("models:", pair.names["student"], "and", pair.names["teacher"])
examples = skd.get_task("summaries").load("test", n=32)
encoded = skd.encode_examples(pair.tokenizer, examples, max_prompt_tokens=512).encoded
prompts, plain, K = [row.prompt_ids for row in encoded], skd.SamplingPolicy(), 3
uniforms = skd.draw_uniforms(seed=4, rows=32, max_new_tokens=48)
ASKED = {"gamma": 5, "student_policy": plain, "teacher_policy": plain, "uniforms": uniforms}


def write(k):
    """The 32 completions at one K, with the same numbers every time."""
    return skd.interleaved_rollout(
        pair.student,
        pair.teacher,
        prompts,
        accept_top_k=k,
        max_new_tokens=48,
        eos_token_ids=pair.eos_token_ids,
        vocab_size=pair.vocab_size,
        **ASKED,
    )


runs = {K: write(K)}
traces = skd.record_traces(pair, runs[K], accept_top_k=K, seed=4, **ASKED)
# a text with a few refusals: enough to look for, few enough to find; K = 1 parts it on the way
parts = [row for row in range(32) if (skd.redecide(traces[row], 1).fork or 0) > 2]
shown = min(parts or range(32), key=lambda row: (abs(traces[row].replaced - 3), row))
trace = traces[shown]


# %%
def written(text):
    return text.replace(" ", "␣").replace("\n", "⏎") or "·"


print(encoded[shown].example.messages[-1]["content"])
proposed = [written(token["proposed"]) for token in trace.tokens]
places = [str(place) for place in range(1, len(proposed) + 1)]
figure(token_cells(proposed, None, places), "The student's proposals, numbered. Who refuses what?")

# %% [markdown]
# Put your numbers into `pencil`, and compare. The teacher refuses a proposal when more than two tokens are
# likelier in its eyes (K = 3).

# %%
pencil = {4, 9}  # your numbers instead of these

refused = {i for i, t in enumerate(trace.tokens, start=1) if t["source"] == "teacher"}
marks = []
for place in range(1, len(proposed) + 1):
    who = ["you"] * (place in pencil) + ["teacher"] * (place in refused)
    marks.append(" + ".join(who))
ranks = [f"rank {token['teacher_rank']}" for token in trace.tokens]
print(f"you refuse {len(pencil)}, the teacher {len(refused)}, both {len(pencil & refused)}")
figure(
    token_cells(proposed, None, ranks, marks),
    "Thick borders: who refuses. Below each proposal, its rank in the teacher's eyes.",
)

# %% [markdown]
# Two kinds of surprise are usual. The teacher lets a **wrong fact** stand, because at that place several
# facts are likely in its eyes; and it refuses a word that reads well to you, because three others read
# better. The rule knows ranks, not truth.
#
# ## The strip
# The same record as the library draws it. Refused proposals are struck through, the teacher's token beside
# them. Point at a token, or walk with the arrow keys (`n` jumps to the next refusal).

# %%
skd.render_strip(trace)

# %% [markdown]
# ## By hand: two numbers of a text
# How much did the teacher write, and how long was the student left alone? A text of eight tokens:
# student, student, teacher, student, teacher, student, student, student. On paper: 2 of 8 by the
# teacher, and the longest run of the student is the last one, of 3.
#
# ### Exercise 04.1 (5 minutes)
# Write `replacement_rate(sources)`. `sources` is a list of `"student"` and `"teacher"`, one a token, and it may be
# empty: nothing was replaced then.


# %%
def replacement_rate(sources):
    return ...


check("04.1", replacement_rate)

# %% [markdown]
# ### Exercise 04.2 (8 minutes)
# Write `longest_kept_run(sources)`: how many of the student's tokens stand in a row, at most.
#
# <details><summary>Hint</summary>Walk through the text with a counter that goes back to 0 at every
# token of the teacher.</details>
# <details><summary>Help, case 1 fails</summary>The longest run may be the last one, with no refusal
# behind it.</details>


# %%
def longest_kept_run(sources):
    return ...


check("04.2", longest_kept_run)

# %% [markdown]
# With both functions solved, try them on the strip: `longest_kept_run([t["source"] for t in trace.tokens])`.
#
# ## How often, and where?
# All 32 texts: what share of the tokens at each place is the teacher's?

# %%
from matplotlib.figure import Figure

shares = {}
for start in range(0, 48, 6):
    tokens = [t for each in traces for t in each.tokens[start : start + 6]]
    if tokens:
        share = sum(t["source"] == "teacher" for t in tokens) / len(tokens)
        shares[f"{start + 1}-{start + 6}\n({len(tokens)} tokens)"] = share
drawn = Figure(figsize=(7.0, 2.6), layout="constrained")
axes = drawn.subplots()
axes.bar(list(shares), list(shares.values()), color="#b35900")
axes.set(xlabel="place in the text, and how many of the tokens are there", ylabel="by the teacher")
axes.yaxis.set_major_formatter("{x:.0%}")
figure(
    drawn, "The share of tokens that the teacher wrote, by place in the text, 32 texts at K = 3."
)

# %% [markdown]
# ## Acceptance as a function of K
# There are two ways to get this curve. The dear one: write the 32 texts again for every K. The cheap one:
# take the **recorded** run at K = 3, and count how many of its proposals have a rank of at most K.

# %%
KS = (1, 2, 3, 5, 10, 25)
runs |= {k: write(k) for k in KS if k not in runs}


def accepted(rollouts):
    return sum(r.accepted for r in rollouts) / sum(r.verified for r in rollouts)


recorded = [t["teacher_rank"] for each in traces for t in each.tokens]
dear = [accepted(runs[k]) for k in KS]
cheap = [sum(rank <= k for rank in recorded) / len(recorded) for k in KS]
drawn = Figure(figsize=(7.0, 3.0), layout="constrained")
axes = drawn.subplots()
axes.plot(range(len(KS)), dear, "o-", color="#1f5c9e", label="written again for each K")
axes.plot(range(len(KS)), cheap, "s--", color="#b35900", label="counted in the run at K = 3")
axes.set_xticks(range(len(KS)), [str(k) for k in KS])
axes.set(xlabel="K", ylabel="proposals that stand")
axes.yaxis.set_major_formatter("{x:.0%}")
axes.legend(frameon=False)
figure(drawn, "Acceptance rises with K. Both ways agree at the recorded K, and need not elsewhere.")

# %%
print("at the recorded K both are the same:", dear[KS.index(K)] == cheap[KS.index(K)])
print("the cheap one never falls:", cheap == sorted(cheap))
print("and they are the same everywhere:", dear == cheap)

# %% [markdown]
# ## Judging a record again
# A record holds the rank of every proposal, and what the teacher would have drawn at every place, refused
# or not. So every verdict can be taken again for another K, without a model.
#
# **By hand.** Five proposals, recorded at K = 3. Judge them for K = 1 and K = 5, and note the first place at
# which *another token* would stand (the fork):
#
# | place | proposed | rank | the teacher's draw | stands in the text |
# |---|---|---|---|---|
# | 1 | the | 1 | a | the |
# | 2 | cat | 2 | cat | cat |
# | 3 | waits | 6 | sleeps | sleeps |
# | 4 | on | 3 | under | on |
# | 5 | mat | 4 | tree | tree |

# %%
rows = ["the 1 a", "cat 2 cat", "waits 6 sleeps", "on 3 under", "mat 4 tree"]
words = sorted({word for row in rows for word in row.split()[::2]})
tokens = []
for row in rows:
    proposal, rank, draw = row.split()
    stands = proposal if int(rank) <= 3 else draw
    tokens.append(
        {
            "source": "student" if int(rank) <= 3 else "teacher",
            "proposed_id": words.index(proposal),
            "kept_id": words.index(stands),
            "kept": stands,
            "teacher_rank": int(rank),
            "teacher_draw": {"id": words.index(draw), "text": draw},
        }
    )
small = skd.Trace(header={"accept_top_k": 3, "vocab_size": len(words)}, tokens=tokens)

# on paper; places count from 1
by_hand = {
    1: ("stands refused refused refused refused", 4),
    5: ("stands stands refused stands stands", 5),
}
for k, (verdicts, fork) in by_hand.items():
    again = skd.redecide(small, k)
    said = " ".join("stands" if each == "accepted" else "refused" for each in again.decisions)
    assert (said, again.fork + 1) == (verdicts, fork)
    print(f"K = {k}: {said}; fork at place {again.fork + 1}; as by hand: True")

# %% [markdown]
# At K = 1 place 2 flips (rank 2 is refused now), yet the text does not part there: the teacher draws *cat*,
# the very word it refused. The fork is place 4.
#
# ### Your guess first (04.3)
# A run was recorded at K = 3 and is judged again at K = 1. How much of what you see is what a run at K = 1
# would have written, with the same numbers?
# - **a** all of it: the ranks are on record
# - **b** everything before the first token that changes, and that token
# - **c** nothing: another K is another run

# %%
check("04.3", ...)


# %%
def judged(K):
    again = skd.redecide(trace, K)
    cells, notes, marks = [], [], []
    for place, (token, verdict) in enumerate(zip(trace.tokens, again.decisions, strict=True)):
        behind = again.fork is not None and place > again.fork
        word = token["kept"]
        if place == again.fork:
            word = token["proposed"] if verdict == "accepted" else token["teacher_draw"]["text"]
        cells.append(written(word))
        notes.append("as recorded" if behind else f"rank {token['teacher_rank']}")
        marks.append("fork" if place == again.fork else "teacher" * (verdict == "replaced"))
    shades = [0.0 if note == "as recorded" else 0.35 for note in notes]
    sure = len(cells) if again.fork is None else again.fork + 1
    said = f"<p>{sure} of {len(cells)} tokens are certain (shaded). "
    said += f"Flipped verdicts: {again.flips}.</p>"
    return token_cells(cells, shades, notes, marks) + said


explore(
    judged,
    "The record judged again. Shaded: what a run at this K writes. Behind the fork: only what "
    "was recorded.",
    K=[1, 2, 3, 5, 10, 25],
)

# %% [markdown]
# ## The honesty rule
# **Up to the first changed token, and at that token, a record judged again is exact. Behind it, it is only what was
# recorded.** A run at the other K goes on from another token: the student proposes something else there, and
# the ranks on record belong to proposals it would not make.
#
# That can be tested: the texts for all those K were written above, with the same numbers.

# %%
for k in KS:
    same, forked, tails = 0, 0, 0
    for each, real in zip(traces, runs[k], strict=True):
        again, ids = skd.redecide(each, k), real.completion_ids.tolist()
        old = [token["kept_id"] for token in each.tokens]
        if again.fork is None:
            same += ids == old
            continue
        at = each.tokens[again.fork]
        stands = again.decisions[again.fork] == "accepted"
        new = at["proposed_id"] if stands else at["teacher_draw"]["id"]
        same += ids[: again.fork + 1] == [*old[: again.fork], new]
        forked += 1
        tails += ids[again.fork + 1 :] == old[again.fork + 1 :]
    assert REAL or same == 32
    print(f"K = {k:>2}: exact up to the fork in {same} of 32; {forked} fork, ", end="")
    print(f"of these {tails} go on as recorded")

# %% [markdown]
# The last number is why the rule is needed: some of the texts that forked go on as recorded (one word for
# another, and the rest agrees), the others do not, and the record cannot tell which. (In bfloat16, on
# a GPU, two ways to compute a logit differ in the last digit, so a few texts may part earlier.) The
# strip keeps the rule: behind the fork its tokens are hatched. It counts tokens from 0.

# %%
skd.render_strip(trace, k=1)

# %% [markdown]
# ## Your own prompt
# The app does all this with a prompt you type, and with your own models. It opens in a browser; start it in a
# terminal, not here:
#
# ```
# skd-lab app
# ```
#
# *Watch* writes a text while you look, *Step* replays it proposal by proposal, *Paste* judges a text you bring.
#
# ## Recap
# The teacher steps in where ranks are bad, not where facts are wrong. How often it does depends on K; the
# curve can be counted in one record, but only at the recorded K is it the curve of the texts themselves.
# A record judged again is exact up to the first token that changes, and hearsay behind it.
#
# ## Sources
# - Xu et al. 2025, [Speculative Knowledge Distillation](https://arxiv.org/abs/2410.11325), Algorithm 1.
# - `docs/strip.md` says how to read a strip, `docs/app.md` what the app's pages do.
#
# Before: [03 Accept or replace](03_accept_or_replace.ipynb). Next:
# [05 Five at a time](05_five_at_a_time.ipynb)
