"""A comparison's table and figures as files in its folder."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from skd_lab.files import disk_errors, write_json_atomic, write_text_atomic
from skd_lab.views.grid_curves import plot_grid_curves, plot_grid_texts
from skd_lab.views.grid_figures import (
    plot_grid_cost,
    plot_grid_differences,
    plot_grid_drafts,
    plot_grid_scores,
    plot_grid_sweep,
)
from skd_lab.views.grid_table import grid_table, to_csv, to_markdown

COLOURS = 256
"""Of a figure's file."""
NOTES = """\
Scores are of greedy completions, with 95% intervals over runs and prompts (both drawn anew, 2,000
times). "minus skd" is paired: the same start, seed, prompts and uniforms; p is two-sided. With
fewer than five runs the interval knows little of how much runs differ. KL is KL(teacher || student)
in nats per token; "replaced" is the share of tokens the teacher refuses at one K for all rows.
"as draft" is the share of its proposals that the teacher keeps under the lossless rule of
speculative decoding. Every method has the same number of updates, but under "equal CPU seconds":
there each has as many as fit in the seconds that skd took. "at equal compute" is the validation
score when as many CPU seconds were spent as the cheapest method with a teacher took in all; the
learning rate has not come down there, which is to the disadvantage of the dearer methods. Scores on
validation prompts are of fewer prompts than those of the test.
"""


def save_grid(rows: Sequence[Mapping[str, Any]], folder: str | Path) -> list[Path]:
    """Write table.md, table.csv, table.json and the figures beside results.jsonl.

    Returns:
        The files written.

    Raises:
        SkdError: the disk does not take them.
    """
    folder = Path(folder)
    table = grid_table(rows)
    files = [folder / name for name in ("table.md", "table.csv", "table.json")]
    write_text_atomic(files[0], f"{to_markdown(table)}\n{NOTES}")
    write_text_atomic(files[1], to_csv(table))
    write_json_atomic(files[2], table)
    figures = {
        "scores": plot_grid_scores(rows),
        "differences": plot_grid_differences(rows),
        "curves": plot_grid_curves(rows),
        "texts": plot_grid_texts(rows),
        "drafts": plot_grid_drafts(rows),
        "sweep": plot_grid_sweep(rows),
        "rates": plot_grid_sweep(rows, "learning_rate"),
        "cost": plot_grid_cost(rows),
    }
    for name, figure in figures.items():
        if figure is not None:
            files.append(folder / f"{name}.png")
            with disk_errors(files[-1]):
                _save(figure, files[-1])
    return files


def _save(figure: Figure, path: Path) -> None:
    """As a PNG of few colours, which lines and bars have: a third of the bytes. The method is the
    one that keeps rare colours: a thin line must not take on its neighbour's."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=110, facecolor="white")
    image = Image.open(drawn).convert("RGB")
    image.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE).save(path, optimize=True)
