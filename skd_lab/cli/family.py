"""skd-lab family: what systems related to SKD do here, as a page or a card, with their controls."""

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import Any

from skd_lab.errors import UsageError


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "family",
        help="Cards of related systems: what held against its control, what did not.",
        description="Without a name, write the cards of all related systems as one self-contained "
        "HTML page, from the committed records. With a name, print that card. --rerun makes the "
        "records again.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="One card, such as cmkd.")
    parser.add_argument(
        "--rerun",
        nargs="?",
        const="",
        metavar="NAME",
        help="Run the demonstration of this card (or `all`) again and write its records.",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="Page to write (default family.html; with a name or --rerun, none unless given).",
    )
    parser.add_argument(
        "--records",
        type=Path,
        metavar="FOLDER",
        help="Folder of the records, read and written (default: those of the package).",
    )
    parser.add_argument("--json", action="store_true", help="Print the cards as JSON.")


def run(args: argparse.Namespace) -> int:
    if importlib.util.find_spec("skd_lab.family") is None:
        raise UsageError(
            "This installation has no related systems: the package skd_lab.family is not there. "
            "Install skd-lab again."
        )
    from skd_lab.family import CARDS, get_card
    from skd_lab.family.card import RECORDS
    from skd_lab.family.page import render_family
    from skd_lab.family.shown import as_data, as_text, show

    folder = args.records or RECORDS
    if args.output is not None and args.output.is_dir():
        example = args.output / "family.html"
        raise UsageError(f"{args.output} is a folder. Give -o a file, such as {example}.")
    name = _name(args)
    if args.rerun is not None and name is None:
        raise UsageError(
            "--rerun takes the name of a card, or all. With a demonstration: "
            f"{', '.join(card.name for card in CARDS.values() if card.demo)}."
        )
    cards = list(CARDS.values()) if name in (None, "all") else [get_card(str(name))]
    if args.rerun is not None:
        cards = [card for card in cards if card.demo is not None] if name == "all" else cards
        _rerun(cards, folder)
    shown = show(cards, folder)
    page = args.output
    if page is None and name is None and not args.json:
        page = Path("family.html")
    if page is not None:
        whole = show(CARDS.values(), folder) if name == "all" else shown
        render_family(whole).save(page)
    if args.json:
        from skd_lab.records import to_json

        print(
            to_json({"page": None if page is None else str(page), "cards": [*map(as_data, shown)]})
        )
        return 0
    if name is not None:
        print("\n\n\n".join(as_text(one) for one in shown))
    if page is not None:
        print(f"Wrote {page}  (open it in a browser; it needs no other file)")
    return 0


def _name(args: argparse.Namespace) -> str | None:
    """The card that is asked for, beside --rerun or behind it; None for all on the page."""
    if args.rerun and args.name and args.rerun != args.name:
        raise UsageError(
            f"The card is named twice, '{args.name}' and '{args.rerun}'. Give one of them."
        )
    if args.name == "all" and args.rerun is None:
        raise UsageError("`all` belongs to --rerun. For a page of all cards leave the name out.")
    return args.rerun or args.name


def _rerun(cards: list[Any], folder: Path) -> None:
    """Make the records of these cards again, having said how long that may take."""
    import torch

    from skd_lab.family.made import expected_seconds, remake

    # the demos are small: a second thread costs more than it brings
    torch.set_num_threads(1)
    seconds, untimed = expected_seconds(cards, folder)
    names = ", ".join(card.name for card in cards)
    known = f"about {seconds:.0f} s on one core, as last time" if seconds else "not timed yet"
    rest = f" (without {', '.join(untimed)}, not timed yet)" if seconds and untimed else ""
    _say(f"Running again: {names}. Time: {known}{rest}.")
    total = 0.0
    for card in cards:
        made = remake(card, folder, _say)
        total += made["seconds"]
        _say(f"{card.name}: {made['seconds']:.0f} s ({made['cpu_seconds']:.0f} s of one core)")
    if len(cards) > 1:
        _say(f"All: {total:.0f} s. Records in {folder}.")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
