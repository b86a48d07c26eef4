"""The lexicon of the translation task: Rilo, a language that was made up for it, and its English.

Rilo's roots and endings were chosen so that the bundled tokenizer cuts a word where its grammar
does: a root is two pieces, an ending one, and no ending changes the pieces of the root before it.
English words are one piece where they can be.
"""

from collections.abc import Mapping
from dataclasses import dataclass

PLURAL, OBJECT, RECIPIENT, OWNER, PLACE = "im", "ke", "ig", "iv", "ide"
"""Endings of nouns; the plural's comes first, and adjectives take it too."""
TENSES = {"present": "", "past": "ap", "future": "og"}
"""Endings of verbs."""
NOT, ASKS = "hok", "piv"
"""Words behind the verb: it is not so; is it so?"""


@dataclass(frozen=True)
class Noun:
    """A noun of both languages."""

    rilo: str
    one: str
    many: str
    at: str = ""
    """English preposition of a place; "" for what is no place."""


@dataclass(frozen=True)
class Verb:
    """A verb of both languages; `gives` says that there is somebody who gets the object."""

    rilo: str
    plain: str
    third: str
    past: str
    gives: bool = False


BEINGS: Mapping[str, Noun] = {
    noun.one: noun
    for noun in (
        Noun("gati", "man", "men"),
        Noun("tego", "boy", "boys"),
        Noun("hedo", "mother", "mothers"),
        Noun("bede", "bird", "birds"),
        Noun("seri", "cat", "cats"),
        Noun("sege", "dog", "dogs"),
        Noun("rile", "fish", "fish"),
        Noun("nome", "horse", "horses"),
    )
}
"""Who may do something, get something or own something."""

THINGS: Mapping[str, Noun] = {
    noun.one: noun
    for noun in (
        Noun("kame", "book", "books"),
        Noun("putu", "egg", "eggs"),
        Noun("soke", "letter", "letters"),
        Noun("nove", "page", "pages"),
        Noun("laru", "box", "boxes"),
        Noun("bima", "word", "words"),
        Noun("seme", "bag", "bags"),
        Noun("beke", "door", "doors"),
    )
}

PLACES: Mapping[str, Noun] = {
    noun.one: noun
    for noun in (
        Noun("nite", "house", "houses", at="in"),
        Noun("haso", "river", "rivers", at="at"),
        Noun("dimo", "tree", "trees", at="by"),
        Noun("fere", "park", "parks", at="in"),
        Noun("nago", "lake", "lakes", at="at"),
        Noun("tomo", "city", "cities", at="in"),
    )
}

VERBS: Mapping[str, Verb] = {
    verb.plain: verb
    for verb in (
        Verb("hadi", "see", "sees", "saw"),
        Verb("biro", "find", "finds", "found"),
        Verb("nole", "want", "wants", "wanted"),
        Verb("gite", "take", "takes", "took"),
        Verb("tove", "move", "moves", "moved"),
        Verb("botu", "need", "needs", "needed"),
        Verb("reke", "know", "knows", "knew"),
        Verb("boha", "give", "gives", "gave", gives=True),
        Verb("leto", "show", "shows", "showed", gives=True),
        Verb("riha", "sell", "sells", "sold", gives=True),
        Verb("paro", "read", "reads", "read", gives=True),
    )
}

ADJECTIVES: Mapping[str, str] = {
    "big": "tup",
    "small": "dol",
    "old": "kal",
    "new": "lif",
    "good": "rez",
    "black": "kub",
    "blue": "lod",
    "great": "mab",
}

DETERMINERS: Mapping[str, str] = {
    "the": "",
    "a": "maf",
    "my": "nig",
    "your": "sup",
    "this": "goj",
    "that": "tet",
}
"""As with one; `MANY` has the English for several. Rilo says nothing for "the"."""
MANY: Mapping[str, str] = {"a": "some", "this": "these", "that": "those"}

NUMBERS: Mapping[str, str] = {"two": "pum", "three": "dil", "five": "gep", "ten": "ses"}

TIMES: Mapping[str, str] = {
    "now": "tabo",
    "then": "kive",
    "again": "doma",
    "each day": "bogo",
    "in May": "hemo",
    "at eight": "dine",
}
