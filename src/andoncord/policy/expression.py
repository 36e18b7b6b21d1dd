"""The condition language, from text to tree and back: a subset of CEL, read by a tokenizer and a Pratt parser.

`args.amount_micro_usd > 200_000_000 && !(agent in ["support-1", "support-2"])`

Operators, loosest first: `||`, `&&`, one of `== != < <= > >= in`, `+ -`, `*`, unary `! -`, then `.field`, `[index]`, `.call()`.
Functions: `text.startsWith(t)`, `text.endsWith(t)`, `text.contains(t)`, `text.matches("pattern")`, `size(x)` or `x.size()`,
`has(x.field)`.
What the operators do with values is said in `andoncord_sdk.expression`, which compiles the tree.
"""

import re
from collections.abc import Collection
from difflib import get_close_matches
from typing import Any, NamedTuple

from andoncord.kernel.errors import CallerError
from andoncord_sdk.expression import (
    COMPARISONS,
    FUNCTIONS,
    compile_expression,
)
from andoncord_sdk.values import INT_MAX, INT_MIN, MAX_DEPTH, ExpressionError

MAX_SOURCE = 8192
"""Characters of one expression."""

Tree = dict[str, Any]

_BINDING = {"||": 1, "&&": 2, **dict.fromkeys(COMPARISONS, 3), "+": 4, "-": 4, "*": 5}
_UNARY = 6
_POSTFIX = 7
_CONSTANTS = {"true": True, "false": False, "null": None}
_ELSEWHERE = {
    "and": "write '&&'",
    "or": "write '||'",
    "not": "write '!'",
    "True": "write 'true'",
    "False": "write 'false'",
    "None": "write 'null'",
    "=": "write '=='",
    "&": "write '&&'",
    "|": "write '||'",
    "?": "write the condition with '&&' and '||'",
    "/": "multiply the other side instead",
    "%": "there is no remainder in this language",
}
_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<number>\d[\d_]*(?:\.\d[\d_]*)?(?:[eE][+-]?\d+)?(?![\w]))
      | (?P<text>r?"(?:[^"\\\n]|\\.)*"|r?'(?:[^'\\\n]|\\.)*')
      | (?P<name>[A-Za-z_]\w*)
      | (?P<op>==|!=|<=|>=|&&|\|\||[<>!()\[\],.+*-])""",
    re.VERBOSE | re.ASCII,
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'", "0": "\0"}


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


def parse(text: str, *, place: str, names: Collection[str] | None = None) -> Tree:
    """Read a condition into the tree that guards compile; what it returns is known to compile.

    Args:
        place: where the text stands, as `file:line`, for messages.
        names: the names an expression may start from; None allows any.

    Raises:
        CallerError: with the column and what to write instead.

    >>> parse("spent > 5", place="here")
    {'op': '>', 'args': [{'op': 'name', 'name': 'spent'}, {'op': 'const', 'value': 5}]}
    >>> parse("spent = 5", place="policies/cap.yaml:4")
    Traceback (most recent call last):
    andoncord.kernel.errors.CallerError: policies/cap.yaml:4: unexpected '=' at column 7, write '=='
    """
    return _Parser(text, place=place, names=names).whole()


class _Parser:
    def __init__(self, text: str, *, place: str, names: Collection[str] | None) -> None:
        self.text = text
        self.place = place
        self.names = names
        self.depth = 0
        if len(text) > MAX_SOURCE:
            raise CallerError(f"an expression of {len(text)} characters", place=place, remedy=f"keep it under {MAX_SOURCE}")
        self.tokens = self._tokens()
        self.next = 0

    def whole(self) -> Tree:
        tree = self._expression(0)
        if self._peek().kind != "end":
            raise self._unexpected(self._peek())
        try:
            compile_expression(tree)
        except ExpressionError as error:
            raise CallerError(str(error), place=self.place) from None
        return tree

    def _tokens(self) -> list[_Token]:
        tokens: list[_Token] = []
        at = 0
        while at < len(self.text):
            match = _TOKEN.match(self.text, at)
            if match is None:
                raise self._unreadable(at)
            kind = match.lastgroup or ""
            if kind != "space":
                tokens.append(_Token(kind, match.group(), at))
            at = match.end()
        tokens.append(_Token("end", "", len(self.text)))
        return tokens

    def _unreadable(self, at: int) -> CallerError:
        character = self.text[at]
        if character in "\"'":
            return self._error("text that is not closed", at, f"end it with {character}")
        if character.isdigit():
            return self._error("a malformed number", at, "write it like 200_000_000 or 0.5")
        return self._error(f"unexpected {character!r}", at, _ELSEWHERE.get(character, ""))

    def _error(self, message: str, at: int, remedy: str = "") -> CallerError:
        line = self.text.count("\n", 0, at) + 1
        column = at - (self.text.rfind("\n", 0, at) + 1) + 1
        where = f"line {line}, column {column}" if "\n" in self.text else f"column {column}"
        return CallerError(f"{message} at {where}", place=self.place, remedy=remedy)

    def _unexpected(self, token: _Token) -> CallerError:
        if token.kind == "end":
            return self._error("the expression ends too early", token.at, "something is missing here")
        if token.kind in ("name", "number", "text"):
            fallback = "put an operator such as '==' or '&&' before it"
            return self._error(f"unexpected {token.text[:40]!r}", token.at, _ELSEWHERE.get(token.text, fallback))
        return self._error(f"unexpected {token.text!r}", token.at)

    def _peek(self) -> _Token:
        return self.tokens[self.next]

    def _take(self) -> _Token:
        token = self.tokens[self.next]
        self.next += 1
        return token

    def _expect(self, text: str) -> None:
        token = self._peek()
        if token.kind != "op" or token.text != text:
            found = f"{token.text[:40]!r}" if token.kind != "end" else "the end"
            raise self._error(f"expected {text!r} but found {found}", token.at)
        self.next += 1

    def _accept(self, text: str) -> bool:
        token = self._peek()
        if token.kind == "op" and token.text == text:
            self.next += 1
            return True
        return False

    def _expression(self, binding: int) -> Tree:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self._error(f"nested more than {MAX_DEPTH} deep", self._peek().at)
        left = self._prefix()
        while (power := _BINDING.get(self._peek().text, 0)) > binding and self._peek().kind in ("op", "name"):
            left = self._infix(left, power)
        self.depth -= 1
        return left

    def _infix(self, left: Tree, power: int) -> Tree:
        op = self._take().text
        if power > 2:
            right = self._expression(power)
            if power == 3 and _BINDING.get(self._peek().text) == 3:
                raise self._error("comparisons cannot be chained", self._peek().at, "write a < b && b < c")
            return {"op": op, "args": [left, right]}
        operands = [left, self._expression(power)]
        while self._accept(op):
            operands.append(self._expression(power))
        return {"op": op, "args": operands}

    def _prefix(self) -> Tree:
        token = self._take()
        if token.kind == "op" and token.text in ("!", "-"):
            if token.text == "-" and self._peek().kind == "number":
                return self._postfix(self._number(self._take(), sign=-1))
            return {"op": "!" if token.text == "!" else "neg", "of": self._expression(_UNARY)}
        return self._postfix(self._atom(token))

    def _atom(self, token: _Token) -> Tree:
        if token.kind == "number":
            return self._number(token, sign=1)
        if token.kind == "text":
            return {"op": "const", "value": self._unescaped(token)}
        if token.kind == "name":
            return self._named(token)
        if token.text == "(" and token.kind == "op":
            inside = self._expression(0)
            self._expect(")")
            return inside
        if token.text == "[" and token.kind == "op":
            return {"op": "list", "items": self._sequence("]")}
        raise self._unexpected(token)

    def _named(self, token: _Token) -> Tree:
        if token.text in _CONSTANTS:
            return {"op": "const", "value": _CONSTANTS[token.text]}
        if token.text in ("and", "or", "not", "in", "True", "False", "None"):
            raise self._unexpected(token)
        if self._accept("("):
            return self._call(token, self._sequence(")"))
        if self.names is not None and token.text not in self.names:
            near = get_close_matches(token.text, self.names, 1)
            remedy = f"did you mean {near[0]!r}?" if near else f"it can be one of: {', '.join(sorted(self.names))}"
            raise self._error(f"unknown name {token.text[:40]!r}", token.at, remedy)
        return {"op": "name", "name": token.text}

    def _call(self, token: _Token, arguments: list[Tree]) -> Tree:
        if token.text not in FUNCTIONS:
            near = get_close_matches(token.text, FUNCTIONS, 1)
            remedy = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(sorted(FUNCTIONS))}"
            raise self._error(f"unknown function {token.text[:40]!r}", token.at, remedy)
        if len(arguments) != FUNCTIONS[token.text]:
            example = {"size": "size(args.items)", "has": "has(args.amount)"}.get(token.text, f'args.path.{token.text}("…")')
            raise self._error(f"{token.text}() with the wrong number of arguments", token.at, f"write {example}")
        if token.text == "has" and arguments[0]["op"] != "field":
            raise self._error("has() takes a field", token.at, "write has(args.amount)")
        if token.text == "matches" and arguments[1]["op"] != "const":
            raise self._error("matches() needs its pattern written out", token.at, 'write args.path.matches("^/etc/")')
        return {"op": "call", "function": token.text, "args": arguments}

    def _sequence(self, closing: str) -> list[Tree]:
        items: list[Tree] = []
        if self._accept(closing):
            return items
        while True:
            items.append(self._expression(0))
            if not self._accept(","):
                self._expect(closing)
                return items

    def _postfix(self, tree: Tree) -> Tree:
        while True:
            if self._accept("."):
                token = self._take()
                if token.kind != "name":
                    raise self._error("expected a field name after '.'", token.at)
                if self._accept("("):
                    tree = self._call(token, [tree, *self._sequence(")")])
                else:
                    tree = {"op": "field", "of": tree, "name": token.text}
            elif self._accept("["):
                tree = {"op": "index", "of": tree, "at": self._expression(0)}
                self._expect("]")
            else:
                return tree

    def _number(self, token: _Token, *, sign: int) -> Tree:
        digits = token.text
        if digits.endswith("_") or "__" in digits or "_." in digits or "_e" in digits.lower():
            raise self._error("a malformed number", token.at, "put one '_' between digits, as in 200_000_000")
        if any(mark in digits for mark in ".eE"):
            value: int | float = sign * float(digits)
            if value in (float("inf"), float("-inf")):
                raise self._error("a number out of range", token.at)
            return {"op": "const", "value": value}
        if len(digits) > 40 or not INT_MIN <= (value := sign * int(digits)) <= INT_MAX:
            raise self._error("a whole number that does not fit in 64 bits", token.at)
        return {"op": "const", "value": value}

    def _unescaped(self, token: _Token) -> str:
        if token.text.startswith("r"):
            return token.text[2:-1]

        def one(match: re.Match[str]) -> str:
            code = match.group(1)
            if len(code) > 1:
                return chr(int(code[1:], 16))
            if code not in _ESCAPES:
                raise self._error(f"unknown escape '\\{code}'", token.at + 1 + match.start(), 'write \\\\ or use r"…"')
            return _ESCAPES[code]

        return _ESCAPE.sub(one, token.text[1:-1])
