"""Texts and globs as Z3 sees them (extra `prove`)."""

import re
from collections.abc import Iterable
from typing import Any

import z3


def string(text: str) -> Any:
    """A literal. Z3 reads escapes in it, so a backslash has to be one."""
    return z3.StringVal(text.replace("\\", "\\u{5c}"))


def matches(text: Any, glob: str) -> Any:
    """That a text matches a glob, as `fnmatch.translate` understands it."""
    if not any(character in glob for character in "*?["):
        return text == string(glob)
    if glob == "*":
        return z3.BoolVal(True)
    if glob.count("*") == 1 and not any(character in glob for character in "?["):
        # The same without a regular expression, which Z3 finds easier.
        first, last = (string(part) for part in glob.split("*"))
        return z3.And(z3.PrefixOf(first, text), z3.SuffixOf(last, text), z3.Length(text) >= len(glob) - 1)
    pieces = [_piece(piece) for piece in _pieces(glob)]
    return z3.InRe(text, pieces[0] if len(pieces) == 1 else z3.Concat(*pieces))


def _pieces(glob: str) -> Iterable[str]:
    """A glob cut into `*`, `?`, `[…]` and single characters."""
    at = 0
    while at < len(glob):
        end = glob.find("]", at + 2 + glob.startswith("[!", at)) if glob[at] == "[" else -1
        yield glob[at : end + 1] if end > 0 else glob[at]
        at = end + 1 if end > 0 else at + 1


def _piece(piece: str) -> Any:
    one = z3.AllChar(z3.ReSort(z3.StringSort()))
    if piece == "*":
        return z3.Star(one)
    if piece == "?":
        return one
    if len(piece) == 1:
        return z3.Re(string(piece))
    inside, is_negated = (piece[2:-1], True) if piece[1] == "!" else (piece[1:-1], False)
    choices, at = [], 0
    while at < len(inside):
        if inside[at + 1 : at + 2] == "-" and at + 2 < len(inside):
            choices.append(z3.Range(string(inside[at]), string(inside[at + 2])))
            at += 3
        else:
            choices.append(z3.Re(string(inside[at])))
            at += 1
    members = choices[0] if len(choices) == 1 else z3.Union(*choices)
    return z3.Intersect(one, z3.Complement(members)) if is_negated else members


def plain(text: Any) -> str:
    r"""A text of Z3, whose unusual characters come as `\u{1f}`."""
    return re.sub(r"\\u\{([0-9a-f]+)\}", lambda match: chr(int(match[1], 16)), str(text.as_string()))


def within(*pieces: Any) -> Any:
    """A text with one of the pieces somewhere in it."""
    anything = z3.Full(z3.ReSort(z3.StringSort()))
    return z3.Concat(anything, pieces[0] if len(pieces) == 1 else z3.Union(*pieces), anything)


def _ambiguous() -> Any:
    """The texts of which `andoncord_sdk.policy.Resource` says that it cannot tell where they lead."""
    anything = z3.Full(z3.ReSort(z3.StringSort()))
    one, slash = z3.AllChar(z3.ReSort(z3.StringSort())), z3.Re("/")
    dots = z3.Union(z3.Re("."), z3.Re(".."))
    segment = z3.Concat(z3.Option(z3.Concat(anything, slash)), dots, z3.Option(z3.Concat(slash, anything)))
    not_after_colon = z3.Option(z3.Concat(anything, z3.Intersect(one, z3.Complement(z3.Re(":")))))
    doubled = z3.Concat(not_after_colon, z3.Re("//"), anything)
    escapes = [z3.Re(f"%{code}") for code in ("2e", "2E", "2f", "2F", "5c", "5C", "25")]
    return z3.Union(segment, doubled, within(z3.Re(string("\\")), z3.Range("\\u{0}", "\\u{1f}"), *escapes))


AMBIGUOUS = _ambiguous()
