"""The steps an instruction is made of: what each is called, and what it does to a list."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

Items = tuple[str, ...]

WORDS = tuple(
    "cat dog bird fish horse tree river house door books letter page boxes boy man mother eggs "
    "coins bags day hand land line word".split()
)
SPELLED = tuple("cat dog bird fish tree door hand land page boy man line word day house".split())
LARGEST = 9
"""No number of a list is larger at the start."""
KINDS = ("words", "numbers", "letters")


@dataclass(frozen=True)
class Step:
    """One kind of step.

    Attributes:
        label: what a worked step may start with.
        asked: ways to ask for it; {x} and {y} are its values.
        does: the list afterwards, given the list and the values.
        takes: what x and y are: "new" (a value of the list's kind), "one" (in the list), "number".
        kinds: of lists it can be asked of.
        least: items that the list must have.
        ends: whether nothing can follow it.
    """

    label: str
    asked: tuple[str, ...]
    does: Callable[[Items, Items], Items]
    takes: tuple[str, ...] = ()
    kinds: tuple[str, ...] = KINDS
    least: int = 1
    ends: bool = False


STEPS: Mapping[str, Step] = {
    "reverse": Step(
        "Reverse", ("reverse it", "put it in reverse order"), lambda items, _: items[::-1]
    ),
    "drop_first": Step(
        "Remove", ("remove the first", "take the first off"), lambda items, _: items[1:], least=3
    ),
    "drop_last": Step(
        "Remove", ("remove the last", "take the last off"), lambda items, _: items[:-1], least=3
    ),
    "swap_first_two": Step(
        "Swap",
        ("swap the first two", "let the first two swap"),
        lambda items, _: (items[1], items[0], *items[2:]),
        least=2,
    ),
    "first_to_end": Step(
        "Move",
        ("move the first to the end", "put the first at the end"),
        lambda items, _: (*items[1:], items[0]),
        least=2,
    ),
    "add_end": Step(
        "Add",
        ("add {x} at the end", "put {x} at the end"),
        lambda items, values: (*items, values[0]),
        takes=("new",),
    ),
    "add_start": Step(
        "Add",
        ("put {x} before it", "write {x} before the first"),
        lambda items, values: (values[0], *items),
        takes=("new",),
    ),
    "replace": Step(
        "Replace",
        ("replace {x} by {y}", "write {y} for each {x}"),
        lambda items, values: tuple(values[1] if item == values[0] else item for item in items),
        takes=("one", "new"),
    ),
    "add_to_each": Step(
        "Add",
        ("add {x} to each", "make each {x} more"),
        lambda items, values: tuple(str(int(item) + int(values[0])) for item in items),
        takes=("number",),
        kinds=("numbers",),
    ),
    "count": Step(
        "Count",
        ("count them", "say how many there are"),
        lambda items, _: (str(len(items)),),
        ends=True,
    ),
    "give_first": Step(
        "First", ("give the first", "say which is first"), lambda items, _: items[:1], ends=True
    ),
    "give_last": Step(
        "Last", ("give the last", "say which is last"), lambda items, _: items[-1:], ends=True
    ),
}


def results(items: Items, composition: tuple[str, ...], values: tuple[Items, ...]) -> list[Items]:
    """The list after every step."""
    found = []
    for name, given in zip(composition, values, strict=True):
        items = STEPS[name].does(items, given)
        found.append(items)
    return found
