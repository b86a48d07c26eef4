"""Intervals over examples hold the truth as often as they say, by simulation.

The bounds leave room for few draws (the seeds are fixed, so nothing fails by chance) and none for
an interval of half the width, or of standard deviations in place of errors.
"""

import numpy as np
import pytest

from skd_lab.metrics import bootstrap_interval, paired_bootstrap

TIMES, DRAWS = 300, 400


def share_that_holds(truth, one):
    """How often one(rng, number) gives an interval that holds the truth."""
    rng = np.random.Generator(np.random.Philox(7))
    intervals = [one(rng, number) for number in range(TIMES)]
    return sum(low <= truth <= high for low, high in intervals) / TIMES


@pytest.mark.parametrize(("confidence", "least", "most"), [(0.95, 0.91, 0.98), (0.5, 0.42, 0.62)])
def test_the_interval_of_a_share_of_right_answers(confidence, least, most):
    def one(rng, number):
        right = (rng.random(80) < 0.3).astype(float)
        return bootstrap_interval(right, number, confidence, DRAWS)

    assert least <= share_that_holds(0.3, one) <= most


def test_the_interval_of_a_paired_difference():
    def one(rng, number):
        base = rng.normal(0, 1, 60)
        return paired_bootstrap(base + rng.normal(0.2, 0.5, 60), base, number, 0.95, DRAWS)[1:]

    assert 0.90 <= share_that_holds(0.2, one) <= 0.98
