r"""Patterns of `matches`: regular expressions whose time grows with the text, never with its tricks.

Python's `re` tries alternatives one after another, so a text made for it can hold a guard for minutes. Here all alternatives
are followed at once: a pattern is compiled to a small program, and the sets of places in it that a text can have reached are
the states of an automaton that is built as texts come along.

The syntax is the common part of RE2 and Python: literals, `.`, `[a-z]`, `[^…]`, `\d \D \w \W \s \S` (ASCII), `\b \B`,
`^ $` (start and end of the text), `( )`, `(?: )`, `|`, `* + ?`, `{m} {m,} {m,n}` (lazy forms mean the same here), `(?i)` in
front. Look-around, back-references and named groups are refused.
"""

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from andoncord_sdk.values import ExpressionError

MAX_PATTERN = 256
"""Characters of one pattern."""
MAX_PROGRAM = 500
"""Instructions of one pattern after its counted repetitions are written out."""
MAX_TRANSITIONS = 20_000
"""Remembered steps of one pattern's automaton; after that it starts afresh."""

_WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_DIGIT = frozenset("0123456789")
_SPACE = frozenset(" \t\n\r\f\v")
_CLASSES = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}
_ANCHORS = {"^": "start", "$": "end"}

Test = Callable[[str], bool]
Assertion = Literal["start", "end", "boundary", "inside"]


class _Consume(NamedTuple):
    test: Test


class _Assert(NamedTuple):
    kind: str


class _Split(NamedTuple):
    """Go on at both places."""

    first: int
    second: int


_Program = list[_Consume | _Assert | _Split | None]
"""None is the end: the text matches."""
_Emit = Callable[[_Program], None]


class Pattern:
    r"""A compiled pattern.

    Raises:
        ExpressionError: it is not in the syntax above, or too big.

    Cost: about 0.1 µs per character once the automaton knows its way, at worst `MAX_PROGRAM` small steps per character.

    >>> Pattern(r"\brm\s+-rf\b").search("sudo rm  -rf /")
    True
    >>> Pattern("(a+)+$").search("a" * 5000 + "b")
    False
    """

    def __init__(self, source: str) -> None:
        if len(source) > MAX_PATTERN:
            raise ExpressionError(f"a pattern has more than {MAX_PATTERN} characters")
        self._program: _Program = []
        parser = _Parser(source)
        _emit(self._program, parser.whole())
        self._program.append(None)
        self._is_anchored = isinstance(self._program[0], _Assert) and self._program[0].kind == "start"
        self._states: dict[tuple[frozenset[int], str], _State] = {}
        self._transitions = 0

    def search(self, text: str) -> bool:
        """Whether the pattern is found anywhere in `text`."""
        state = self._state(frozenset((0,)), "start")
        for character in text:
            following = state.following.get(character)
            if following is None:
                following = self._follow(state, character)
            if following is _MATCH:
                return True
            if following is _DEAD:
                return False
            state = following
        return self._reaches_end(state)

    def _state(self, places: frozenset[int], before: str) -> "_State":
        return self._states.setdefault((places, before), _State(places, before))

    def _follow(self, state: "_State", character: str) -> "_State":
        if self._transitions >= MAX_TRANSITIONS:
            self._states, self._transitions = {}, 0
        self._transitions += 1
        following = self._following(state, character)
        state.following[character] = following
        return following

    def _following(self, state: "_State", character: str) -> "_State":
        reached = self._closure(state, character)
        if reached is None:
            return _MATCH
        onward = {place + 1 for place, test in reached if test(character)}
        if not self._is_anchored:
            onward.add(0)
        if not onward:
            return _DEAD
        return self._state(frozenset(onward), "word" if character in _WORD else "other")

    def _reaches_end(self, state: "_State") -> bool:
        """Whether the pattern is found if the text ends here."""
        if state.is_end is None:
            state.is_end = self._closure(state, "") is None
        return state.is_end

    def _closure(self, state: "_State", after: str) -> list[tuple[int, Test]] | None:
        """The places that wait for a character, given the one that comes next ("" at the end); None when the end is reached."""
        waiting: list[tuple[int, Test]] = []
        seen: set[int] = set()
        to_visit = list(state.places)
        while to_visit:
            place = to_visit.pop()
            if place in seen:
                continue
            seen.add(place)
            instruction = self._program[place]
            if instruction is None:
                return None
            if isinstance(instruction, _Consume):
                waiting.append((place, instruction.test))
            elif isinstance(instruction, _Split):
                to_visit += (instruction.first, instruction.second)
            elif _holds(instruction.kind, state.before, after):
                to_visit.append(place + 1)
        return waiting


class _State:
    """What can have been reached, and what kind of character was the last."""

    __slots__ = ("before", "following", "is_end", "places")

    def __init__(self, places: frozenset[int], before: str) -> None:
        self.places = places
        self.before = before
        self.following: dict[str, _State] = {}
        self.is_end: bool | None = None


_MATCH: Final = _State(frozenset(), "match")
_DEAD: Final = _State(frozenset(), "dead")


def _holds(kind: str, before: str, after: str) -> bool:
    if kind == "start":
        return before == "start"
    if kind == "end":
        return not after
    is_boundary = (before == "word") is not (after in _WORD)
    return is_boundary if kind == "boundary" else not is_boundary


class _Node(NamedTuple):
    kind: Literal["consume", "assert", "sequence", "choice", "repeat"]
    test: Test | None = None
    assertion: str = ""
    parts: tuple["_Node", ...] = ()
    least: int = 0
    most: int | None = None


def _emit(program: _Program, node: _Node) -> None:
    if len(program) > MAX_PROGRAM:
        raise ExpressionError("the pattern is too big: repeat less")
    if node.kind == "consume":
        assert node.test is not None
        program.append(_Consume(node.test))
    elif node.kind == "assert":
        program.append(_Assert(node.assertion))
    elif node.kind == "sequence":
        for part in node.parts:
            _emit(program, part)
    elif node.kind == "choice":
        _emit_choice(program, node.parts)
    else:
        _emit_repeat(program, node)


def _emit_choice(program: _Program, parts: tuple[_Node, ...]) -> None:
    exits: list[int] = []
    for part in parts[:-1]:
        fork = len(program)
        program.append(None)
        _emit(program, part)
        exits.append(len(program))
        program.append(None)
        program[fork] = _Split(fork + 1, len(program))
    _emit(program, parts[-1])
    for place in exits:
        program[place] = _Split(len(program), len(program))


def _emit_repeat(program: _Program, node: _Node) -> None:
    (part,) = node.parts
    for _ in range(node.least):
        _emit(program, part)
    if node.most is None:
        fork = len(program)
        program.append(None)
        _emit(program, part)
        program.append(_Split(fork, fork))
        program[fork] = _Split(fork + 1, len(program))
        return
    forks: list[int] = []
    for _ in range(node.most - node.least):
        forks.append(len(program))
        program.append(None)
        _emit(program, part)
    for fork in forks:
        program[fork] = _Split(fork + 1, len(program))


class _Parser:
    """Recursive descent; `MAX_PATTERN` bounds its depth."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.ignores_case = source.startswith("(?i)")
        self.at = 4 if self.ignores_case else 0

    def whole(self) -> _Node:
        node = self._choice()
        if self.at < len(self.source):
            raise self._error("a ')' without its '('")
        return node

    def _error(self, message: str) -> ExpressionError:
        return ExpressionError(f"the pattern {self.source[:80]!r} has {message}, at character {self.at + 1}")

    def _peek(self) -> str:
        return self.source[self.at] if self.at < len(self.source) else ""

    def _take(self) -> str:
        character = self._peek()
        if not character:
            raise self._error("no proper end")
        self.at += 1
        return character

    def _choice(self) -> _Node:
        parts = [self._sequence()]
        while self._peek() == "|":
            self.at += 1
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else _Node("choice", parts=tuple(parts))

    def _sequence(self) -> _Node:
        parts: list[_Node] = []
        while self._peek() not in ("", "|", ")"):
            parts.append(self._repeated(self._atom()))
        return parts[0] if len(parts) == 1 else _Node("sequence", parts=tuple(parts))

    def _repeated(self, node: _Node) -> _Node:
        bounds = self._bounds()
        if bounds is None:
            return node
        if node.kind == "assert":
            raise self._error("a repetition of something that has no width")
        if self._peek() == "?":
            self.at += 1
        if self._bounds() is not None or self._peek() == "+":
            raise self._error("a repetition of a repetition: put '(?:…)' around the inner one")
        return _Node("repeat", parts=(node,), least=bounds[0], most=bounds[1])

    def _bounds(self) -> tuple[int, int | None] | None:
        simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        character = self._peek()
        if character in simple:
            self.at += 1
            return simple[character]
        end = self.source.find("}", self.at)
        if character != "{" or end < 0:
            return None
        least, comma, most = self.source[self.at + 1 : end].partition(",")
        if not (_is_number(least) and (_is_number(most) or not most)):
            return None  # A brace that is no repetition stands for itself.
        self.at = end + 1
        bounds = int(least), (int(most) if most else None) if comma else int(least)
        if bounds[1] is not None and bounds[1] < bounds[0]:
            raise self._error("a repetition that ends before it begins")
        return bounds

    def _atom(self) -> _Node:
        character = self._take()
        if character == "(":
            return self._group()
        if character == "[":
            return self._consume(self._bracket())
        if character == ".":
            return self._consume(lambda one: one != "\n")
        if character in _ANCHORS:
            return _Node("assert", assertion=_ANCHORS[character])
        if character in "*+?":
            raise self._error("nothing to repeat")
        if character == "\\":
            return self._escaped()
        return self._consume(character.__eq__)

    def _group(self) -> _Node:
        if self._peek() == "?":
            if not self.source.startswith("?:", self.at):
                raise self._error("a kind of group that is not supported: write '(…)' or '(?:…)'")
            self.at += 2
        node = self._choice()
        if self._peek() != ")":
            raise self._error("a '(' without its ')'")
        self.at += 1
        # A node of its own: a group may be repeated even where what it holds has no width.
        return _Node("sequence", parts=(node,))

    def _escaped(self) -> _Node:
        character = self._take()
        if character in "bB":
            return _Node("assert", assertion="boundary" if character == "b" else "inside")
        if (members := _CLASSES.get(character.lower())) is not None:
            return self._consume(members.__contains__ if character.islower() else lambda one: one not in members)
        return self._consume(self._literal(character).__eq__)

    def _literal(self, character: str) -> str:
        if character in _ESCAPES:
            return _ESCAPES[character]
        if character in _WORD:
            raise self._error(f"an escape that is not supported: \\{character}")
        return character

    def _bracket(self) -> Test:
        is_negated = self._peek() == "^"
        self.at += is_negated
        members: set[str] = set()
        ranges: list[tuple[str, str]] = []
        outside: list[frozenset[str]] = []
        is_first = True
        while self._peek() != "]" or is_first:
            is_first = False
            low = self._member(members, outside)
            if low is None:
                continue
            if self._peek() == "-" and self.source[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                high = self._member(members, outside)
                if high is None or high < low:
                    raise self._error("a range that ends before it begins")
                ranges.append((low, high))
            else:
                members.add(low)
        self.at += 1

        def test(one: str) -> bool:
            is_member = (
                one in members
                or any(low <= one <= high for low, high in ranges)
                or any(one not in others for others in outside)
            )
            return is_member is not is_negated

        return test

    def _member(self, members: set[str], outside: list[frozenset[str]]) -> str | None:
        """One literal of a bracket; None when it was a class, which is added by itself."""
        character = self._take()
        if character != "\\":
            return character
        character = self._take()
        known = _CLASSES.get(character.lower())
        if known is None:
            return self._literal(character)
        if character.islower():
            members |= known
        else:
            outside.append(known)
        return None

    def _consume(self, test: Test) -> _Node:
        if self.ignores_case:
            return _Node("consume", test=lambda one: test(one) or test(one.swapcase()))
        return _Node("consume", test=test)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 4
