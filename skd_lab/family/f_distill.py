"""Total variation on both models' texts, after f-DISTILL (Wen et al. 2023, ACL)."""

from skd_lab.family.card import Card, register_card
from skd_lab.methods import Method, register

register(
    Method(
        name="f_distill_tvd",
        completions=("teacher", "student"),
        turns="both",
        objectives=("total_variation",),
        source="after Wen et al. 2023",
        summary="Teacher and student both write to every prompt; total variation on both texts.",
    )
)
register_card(
    Card(
        name="f_distill",
        group="neighbour",
        title="f-DISTILL with total variation",
        paper="Wen, Li, Du, Mou 2023 (ACL)",
        sentences=(
            "A family of divergences over whole texts, of which total variation is bounded by its "
            "token-level sum, half on the teacher's texts and half on the student's.",
            "It averages over two kinds of text; SKD makes one text of both hands.",
        ),
        equation=r"\tfrac14 E_{y \sim p}\sum_t\|p_t - q_t\|_1 + "
        r"\tfrac14 E_{y \sim q}\sum_t\|p_t - q_t\|_1",
        statement="The loss is the mean of total_variation on teacher_kd's and on on_policy_kd's "
        "texts.",
        control="on_policy_kd with total_variation: half of the texts",
        choices=(
            "texts are drawn anew at every visit; the paper draws the teacher's once, beforehand",
            "no round of ordinary distillation before it",
        ),
        command="skd-lab train --method f_distill_tvd",
    )
)
