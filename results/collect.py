"""Take the rows of a comparison into results/: `python results/collect.py NAME RUN_FOLDER`.

Which rows, say the commands under `## NAME` in README.md: those of their cells, no more and no
less, so a grid that is half done can be taken in by its finished seeds.
"""

import sys
from pathlib import Path

from claims import HERE, grid_of

from skd_lab.errors import UsageError
from skd_lab.files import write_json_atomic
from skd_lab.results import read_results, write_results
from skd_lab.views import save_grid


def collect(name: str, runs: Path) -> list[Path]:
    """Write results/NAME: rows, grid, table and figures.

    Raises:
        UsageError: a cell of the commands has no finished row; names the cells.
    """
    grid = grid_of(name)
    rows = {row["cell"]: row for row in read_results(runs)}
    wanted = [cell.name for cell in grid.cells()]
    if missing := [cell for cell in wanted if cell not in rows]:
        raise UsageError(
            f"{len(missing)} of {len(wanted)} cells are not finished in {runs}: "
            f"{', '.join(missing[:5])} ... Run the command on, or name fewer in README.md."
        )
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    write_json_atomic(folder / "grid.json", grid.to_dict())
    write_results(folder, [rows[cell] for cell in wanted])
    return save_grid([rows[cell] for cell in wanted], folder)


if __name__ == "__main__":
    print("\n".join(str(path) for path in collect(sys.argv[1], Path(sys.argv[2]))))
