"""Tasks: where prompts and references come from, and how a completion is scored."""

from skd_lab.tasks.arithmetic import Arithmetic
from skd_lab.tasks.asdiv import Asdiv
from skd_lab.tasks.base import Example, Task
from skd_lab.tasks.dialogsum import DialogSum
from skd_lab.tasks.gsm8k import Gsm8k
from skd_lab.tasks.instruction import InstructionTask
from skd_lab.tasks.jsonl import Jsonl
from skd_lab.tasks.math import Math, UltraInteract
from skd_lab.tasks.multi30k import Flores, Multi30k
from skd_lab.tasks.summaries import Summaries
from skd_lab.tasks.svamp import Svamp
from skd_lab.tasks.table import TASKS, get_task
from skd_lab.tasks.translation import Translation

__all__ = [
    "TASKS",
    "Arithmetic",
    "Asdiv",
    "DialogSum",
    "Example",
    "Flores",
    "Gsm8k",
    "InstructionTask",
    "Jsonl",
    "Math",
    "Multi30k",
    "Summaries",
    "Svamp",
    "Task",
    "Translation",
    "UltraInteract",
    "get_task",
]
