r"""Final answers: where a solution says them, and when two of them are the same.

A solution marks its answer as GSM8K does (`#### 12`) or as MATH does (`\boxed{12}`, Hendrycks et
al. 2021, https://github.com/hendrycks/math). Two answers are the same if they have one value (0.5
and \frac12, 3.0 and 3, 1,000 and 1{,}000), or are written alike once spacing, units, currency and
percent signs are taken away, as MATH's own checker takes them. No algebra is done: x+1 is not 1+x.
"""

import re
from fractions import Fraction

_MARK = re.compile(r"####[ \t]*([^\n]*)")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?=\{)|\\boxed\s+(?=[^\s{])")

_DECIMAL = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+"
_NUMBER = re.compile(rf"[-+]?(?:{_DECIMAL})")
_RATIO = re.compile(rf"([-+]?)(?:([0-9]+) ?)?\\frac\{{(-?(?:{_DECIMAL}))\}}\{{({_DECIMAL})\}}")
_SLASH = re.compile(rf"([-+]?(?:{_DECIMAL}))/({_DECIMAL})")
_WITH_UNIT = re.compile(rf"([-+]?[$€£]?(?:{_DECIMAL})%?)(?:\s+[^\W\d_][^\d]*)?\.?")
_UNITS = (
    "cm mm km inch inches in feet foot ft yards yard miles mile meters meter metres metre units"
    " unit degrees degree dollars dollar cents cent euros pounds hours hour hrs minutes minute mins"
    " seconds second secs days day weeks week months month years year mph kph percent points point"
    " people students ways cubic square sq per"
).split()
_UNIT_WORDS = re.compile(
    rf"(?<=[\d}}])\s*(?:\b(?:{'|'.join(_UNITS)})\b[.\s]*)+(?:\^\{{?[23]\}}?)?$", re.IGNORECASE
)


def final_answer(text: str) -> str | None:
    """What stands behind the last `####` of a solution, up to the end of its line; or None."""
    found = _MARK.findall(text)
    return found[-1].strip() if found and found[-1].strip() else None


def boxed_answer(text: str) -> str | None:
    r"""What the last \boxed or \fbox of a solution holds, braces in braces and all; or None.

    A box that is never closed holds nothing, and the one before it does not count in its place.
    """
    boxes = list(_BOX.finditer(text))
    if not boxes:
        return None
    start = boxes[-1].end()
    if text[start] != "{":  # \boxed 5: up to the end of the word
        return re.split(r"[\s$]", text[start:], maxsplit=1)[0].strip() or None
    depth = 0
    for end in range(start, len(text)):
        if text[end] in "{}" and text[end - 1] != "\\":
            depth += 1 if text[end] == "{" else -1
            if depth == 0:
                return text[start + 1 : end].strip() or None
    return None


def marked_answer(text: str) -> str | None:
    r"""What stands behind the last `####`, or, where there is none, in the last \boxed; or None."""
    return final_answer(text) or boxed_answer(text)


def leading_number(text: str) -> str:
    """The number of an answer with words behind it: "12" of "12 apples"; else the text itself.

    A second number is no unit: "12 or 13" stays as it is.
    """
    found = _WITH_UNIT.fullmatch(text.strip())
    return found.group(1) if found else text


def same_answer(said: str | None, right: str) -> float:
    """1.0 if two final answers are the same (see the head of this file), else 0.0."""
    if said is None:
        return 0.0
    return float(_same(plain_answer(said), plain_answer(right)))


def value_of(text: str) -> Fraction | None:
    r"""The number that a plain answer is: 1,250, -0.5, 3/4, \frac{3}{4}, 1\frac{1}{2}; or None."""
    if _NUMBER.fullmatch(text):
        return Fraction(text.replace(",", ""))
    if found := _RATIO.fullmatch(text):
        sign, whole, above, below = found.groups()
        number = _ratio(above, below)
        if number is None or (whole and number < 0):
            return None
        return (number + int(whole or 0)) * (-1 if sign == "-" else 1)
    if found := _SLASH.fullmatch(text):
        return _ratio(*found.groups())
    return None


def plain_answer(text: str) -> str:
    """An answer without what does not change it: spacing, units, currency, percent, delimiters."""
    text = text.strip().strip("$").strip()
    text = re.sub(r"^\\[(\[](.*)\\[)\]]$", r"\1", text.removesuffix("."))
    text = re.sub(r"\\(?:left|right|displaystyle|[!,;:>])(?![A-Za-z])|\^\{?\\circ\}?|°", "", text)
    text = re.sub(r"\\(?:quad|qquad|\s)|~", " ", text)
    text = re.sub(r"\\?[$%]|[€£]|\\degree", "", text)
    text = re.sub(r"\\[dtc]frac", r"\\frac", text).replace("{,}", ",")
    text = _without_words(text)
    text = re.sub(r"\\(frac|sqrt)\s+(?=\d)", r"\\\1", text)
    text = re.sub(r"\\frac(\d)(\d)", r"\\frac{\1}{\2}", text)  # \frac12
    text = re.sub(r"\\frac(\d)\{", r"\\frac{\1}{", text)  # \frac1{72}
    text = re.sub(r"\\frac(\{[^{}]*\})(\d)", r"\\frac\1{\2}", text)  # \frac{1}2
    text = re.sub(r"\\sqrt(\w)", r"\\sqrt{\1}", text)
    text = re.sub(r"([\^_])\{(\w)\}", r"\1\2", text)
    text = re.sub(r"\\(le|ge|ne)q\b", r"\\\1", text)
    text = _UNIT_WORDS.sub("", text.strip())
    named = re.fullmatch(r"\s*[A-Za-z](?:_\w)?\s*=([^=]+)", text)
    text = re.sub(r"\s+", "", named.group(1) if named else text)
    return re.sub(r"^\(([A-Z])\)$", r"\1", text).removesuffix(".")


def _without_words(text: str) -> str:
    r"""\text{...} is a unit behind a number, a comma for "and", else the answer itself."""
    wrapped = r"\\(?:text|mbox|textbf|mathrm|mathbf|textit|operatorname)\{([^{}]*)\}"
    text = re.sub(
        wrapped, lambda m: "," if m.group(1).strip() in ("and", "or", ",") else m.group(0), text
    )
    bare = re.sub(wrapped + r"(?:\^\{?\d\}?)?", "", text)
    if re.search(r"\d", bare):
        return bare
    words = re.sub(wrapped, r"\1", text)
    return words.lower() if words != text and len(words.strip(" ()")) > 1 else words


def _same(said: str, right: str) -> bool:
    if not said:
        return False
    if said == right:
        return True
    values = value_of(said), value_of(right)
    if None not in values:
        return values[0] == values[1]
    parts, others = _parts(said), _parts(right)
    if parts is None or others is None or parts[0] != others[0] or len(parts[1]) != len(others[1]):
        return False
    if parts[0] in ("", r"\{"):  # solutions and sets have no order
        left = list(others[1])
        for part in parts[1]:
            match = next((other for other in left if _same(part, other)), None)
            if match is None:
                return False
            left.remove(match)
        return True
    return all(map(_same, parts[1], others[1]))


def _parts(text: str) -> tuple[str, list[str]] | None:
    """The bracket and the members of a pair, an interval, a set or a list; None for one thing."""
    opening = next((mark for mark in ("(", "[", r"\{") if text.startswith(mark)), "")
    closing = {"(": (")", "]"), "[": (")", "]"), r"\{": (r"\}",), "": ("",)}[opening]
    end = next((mark for mark in closing if text.endswith(mark)), None)
    if end is None:
        return None
    members, depth = [""], 0
    for mark in text[len(opening) : len(text) - len(end)]:
        depth += (mark in "([{") - (mark in ")]}")
        if mark == "," and depth == 0:
            members.append("")
        else:
            members[-1] += mark
    kind = opening if opening in ("", r"\{") else opening + end
    return (kind, members) if len(members) > 1 and all(members) else None


def _ratio(above: str, below: str) -> Fraction | None:
    over, under = Fraction(above.replace(",", "")), Fraction(below.replace(",", ""))
    return over / under if under else None
