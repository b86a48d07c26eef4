"""Bootstrap intervals over runs and prompts: coverage and p-values by simulation."""

import numpy as np
import pytest

from skd_lab.errors import UsageError
from skd_lab.metrics import crossed_bootstrap


def test_crossed_intervals_cover_both_kinds_of_luck():
    rng = np.random.default_rng(0)
    inside, alone = 0, 0
    for trial in range(300):
        runs, prompts = rng.normal(0, 0.1, (8, 1)), rng.normal(0, 0.5, (1, 60))
        values = 0.3 + runs + prompts + rng.normal(0, 0.3, (8, 60))
        mean, low, high, p = crossed_bootstrap(values, seed=trial, draws=300)
        inside += low <= 0.3 <= high
        assert mean == pytest.approx(values.mean()) and 0 < p <= 1
        _, low, high, _ = crossed_bootstrap(values[:1], seed=trial, draws=300)
        alone += low <= 0.3 <= high
    # 95% asked for; one run alone says nothing of how runs differ and is too sure of itself
    assert 0.90 <= inside / 300 <= 0.99 and alone < inside


def test_crossed_p_values_are_fair_where_nothing_differs():
    rng = np.random.default_rng(1)
    found = [crossed_bootstrap(rng.normal(0, 1, (6, 40)), seed=n, draws=300)[3] for n in range(300)]
    assert np.mean(np.array(found) < 0.05) < 0.08
    assert crossed_bootstrap(np.ones((3, 20)), seed=0)[3] == 1 / 2000
    assert crossed_bootstrap(np.zeros((3, 20)), seed=0)[3] == 1.0
    for values in ([], [[]], [[1.0, np.nan]], [[1.0], [1.0, 2.0]]):
        with pytest.raises(UsageError, match="same prompts|runs x prompts"):
            crossed_bootstrap(values, seed=0)
