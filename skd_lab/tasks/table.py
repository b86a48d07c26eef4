"""The tasks by name. A new task is one file beside this one and one row here."""

from skd_lab.errors import UsageError
from skd_lab.tasks.arithmetic import Arithmetic
from skd_lab.tasks.asdiv import Asdiv
from skd_lab.tasks.base import Task
from skd_lab.tasks.dialogsum import DialogSum
from skd_lab.tasks.gsm8k import Gsm8k
from skd_lab.tasks.instruction import InstructionTask
from skd_lab.tasks.jsonl import Jsonl
from skd_lab.tasks.math import Math, UltraInteract
from skd_lab.tasks.multi30k import Flores, Multi30k
from skd_lab.tasks.summaries import Summaries
from skd_lab.tasks.svamp import Svamp
from skd_lab.tasks.translation import Translation

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Summaries(),
        Arithmetic(),
        Translation(),
        InstructionTask(),
        Gsm8k(),
        Svamp(),
        Asdiv(),
        Math(),
        UltraInteract(),
        DialogSum(),
        Multi30k(),
        Flores(),
        Jsonl(),
    )
}


def get_task(name: str) -> Task:
    """The task of that name.

    Raises:
        UsageError: if there is none; the message lists the names.
    """
    if name not in TASKS:
        raise UsageError(f"unknown task {name!r}. Choose one of: {', '.join(sorted(TASKS))}.")
    return TASKS[name]
