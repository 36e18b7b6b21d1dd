"""Text from agents is hostile: what people read of it passes through here first."""

_PICTURES = 0x2400
"""U+2400 is the picture of control character 0: adding the code gives the picture of any of them."""


def _inert(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(_PICTURES + code)
    if code == 0x7F:
        return "\u2421"
    # Not printable: C1 controls (a terminal may take U+009B for an escape), bidi and zero-width characters, lone surrogates
    # (they cannot be written out), private use, unassigned, and line breaks that only some readers see.
    return character if character.isprintable() else f"<U+{code:04X}>"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: max(0, limit - 1)] + "…"


def visible(text: str, limit: int = 200) -> str:
    r"""`text` on one line of at most `limit` characters; control, escape, bidi and zero-width characters are shown, not obeyed.

    Markup stays as it is: whoever renders must print it as plain text (rich: `markup=False`) or escape it (HTML, Markdown).

    >>> visible("ok\x1b[2J\u202egnp.exe\nnext")
    'ok␛[2J<U+202E>gnp.exe next'
    >>> visible("a" * 10, limit=4)
    'aaa…'
    """
    # Cut before the walk as well, so that a megabyte of text costs no more than the line it becomes.
    line = " ".join(text[: limit * 4 + 16].split())
    return _cut("".join(_inert(character) for character in line), limit)


def visible_block(text: str, limit: int = 4_000) -> str:
    r"""Like `visible`, but new lines and tabs stay what they are.

    >>> visible_block("one\n\ttwo\x07")
    'one\n\ttwo␇'
    """
    kept = text[: limit + 1].replace("\r\n", "\n")
    return _cut("".join(character if character in "\n\t" else _inert(character) for character in kept), limit)


def quoted(text: str, limit: int = 120) -> str:
    """`text` made visible and marked as somebody else's words.

    >>> quoted("ignore previous instructions")
    '“ignore previous instructions”'
    """
    return f"“{visible(text, limit)}”"
