"""Masking inside an export in protobuf: the texts in which something suspicious lies are written anew, all else is copied.

Lengths stand before texts, so that masking in place would corrupt the message. Instead the message is walked along the way to
each suspicion, whatever does not lead there is skipped by its length, and the lengths on the way are written again. What cannot
be walked and holds a suspicion is cut out: it cannot be looked into.

Source: the protocol buffers encoding guide; opentelemetry-proto 1.7.
"""

from collections.abc import Callable, Sequence

Mask = Callable[[str], tuple[str, int]]
Piece = bytes | memoryview
Spans = Sequence[tuple[int, int]]
"""Where suspicions lie, as start and end, in order and apart from each other."""

MAX_DEPTH = 100
"""Nesting that protobuf's own parsers follow."""
ATTRIBUTE_MASK = b"\x0a\x14[redacted:attribute]"
"""The value of an attribute that is masked whole."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MORE = 0x80
"""Set in a byte of a number that is not its last."""
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}
_TEXT, _ID, _RAW = "text", "id", "raw"
"""Masked as text; left as it is, being random; masked as text if it is text."""
_PAIR = "pair"

_SCHEMAS: dict[str, dict[int, str]] = {
    "traces": {1: "resource_spans"},
    "resource_spans": {1: "resource", 2: "scope_spans", 3: _TEXT},
    "scope_spans": {1: "scope", 2: "span", 3: _TEXT},
    "span": {1: _ID, 2: _ID, 3: _TEXT, 4: _ID, 5: _TEXT, 9: _PAIR, 11: "event", 13: "link", 15: "status"},
    "event": {2: _TEXT, 3: _PAIR},
    "link": {1: _ID, 2: _ID, 3: _TEXT, 4: _PAIR},
    "status": {2: _TEXT},
    "logs": {1: "resource_logs"},
    "resource_logs": {1: "resource", 2: "scope_logs", 3: _TEXT},
    "scope_logs": {1: "scope", 2: "log", 3: _TEXT},
    "log": {3: _TEXT, 5: "value", 6: _PAIR, 9: _ID, 10: _ID, 12: _TEXT},
    "metrics": {1: "resource_metrics"},
    "resource_metrics": {1: "resource", 2: "scope_metrics", 3: _TEXT},
    "scope_metrics": {1: "scope", 2: "metric", 3: _TEXT},
    "metric": {1: _TEXT, 2: _TEXT, 3: _TEXT, 5: "points", 7: "points", 9: "points", 10: "points", 11: "points", 12: _PAIR},
    "points": {1: "point"},
    # Number, histogram, exponential histogram and summary points keep attributes and exemplars under different numbers.
    "point": {1: _PAIR, 5: "exemplar", 7: _PAIR, 8: "exemplar", 9: _PAIR, 11: "exemplar"},
    "exemplar": {4: _ID, 5: _ID, 7: _PAIR},
    "resource": {1: _PAIR},
    "scope": {1: _TEXT, 2: _TEXT, 3: _PAIR},
    _PAIR: {2: "value"},
    "value": {1: _TEXT, 5: "array", 6: "map", 7: _RAW},
    "array": {1: "value"},
    "map": {1: _PAIR},
}


class Broken(Exception):
    """The bytes are not the message they should be."""


class Masking:
    """One body being masked.

    Args:
        suspicions: where in the body something may have to be masked.
        mask: masks one text.
        is_secret_key: whether an attribute of this name is masked whole.
    """

    def __init__(self, body: bytes, suspicions: Spans, *, mask: Mask, is_secret_key: Callable[[str], bool]) -> None:
        self._body, self._view = body, memoryview(body)
        self._suspicions = suspicions
        self._mask = mask
        self._is_secret_key = is_secret_key
        self.count = 0
        """Places masked so far."""

    def masked(self, export: str) -> bytes:
        """The body, masked.

        Args:
            export: traces, logs or metrics.

        Raises:
            Broken: it is no such export.
        """
        anew = self._message(0, len(self._body), export, 0, 0)
        return self._body if anew is None else b"".join(anew)

    def _message(self, start: int, end: int, kind: str, first: int, depth: int) -> list[Piece] | None:
        """One message anew, in pieces that are put together once; None where it stays.

        Args:
            first: the first suspicion that may lie in it.
        """
        if depth > MAX_DEPTH:
            raise Broken("nested too deeply")
        body, suspicions, fields = self._body, self._suspicions, _SCHEMAS[kind]
        pieces: list[Piece] = []
        kept_from = place = start
        suspect = start
        while place < end:
            tag, content = body[place], place + 2
            if tag & 7 == _BYTES and tag < _MORE and content < end and (size := body[place + 1]) < _MORE:
                # Nearly every field has a tag and a length of one byte each.
                wire = _BYTES
            elif tag & 7 == _BYTES and tag < _MORE and content < end and body[content] < _MORE:
                # Texts and spans have lengths of two.
                wire, size, content = _BYTES, body[place + 1] & 0x7F | body[content] << 7, place + 3
            else:
                tag, content = _varint(body, place, end)
                wire = tag & 7
                if wire == _VARINT:
                    _, place = _varint(body, content, end)
                    continue
                size = _FIXED_SIZES.get(wire, -1)
                if wire == _BYTES:
                    size, content = _varint(body, content, end)
            if size < 0 or content + size > end:
                raise Broken("a field ends outside of its message")
            began, place = place, content + size
            if place <= suspect:
                continue
            while first < len(suspicions) and suspicions[first][1] <= content:
                first += 1
            if first == len(suspicions) or suspicions[first][0] >= end:
                break
            suspect = suspicions[first][0]
            if suspect >= place:
                continue
            if wire != _BYTES:
                continue
            part = fields.get(tag >> 3, _RAW)
            if part == _ID:
                continue
            anew = self._part(content, place, part, first, depth)
            if anew is not None:
                pieces += (self._view[kept_from:began], _tag(tag >> 3), _length(sum(map(len, anew))), *anew)
                kept_from = place
        if not pieces:
            return None
        pieces.append(self._view[kept_from:end])
        return pieces

    def _part(self, start: int, end: int, kind: str, first: int, depth: int) -> Sequence[Piece] | None:
        """The content of a field anew, or None where it stays."""
        before = self.count
        if kind == _TEXT:
            text, found = self._mask(self._body[start:end].decode("utf-8", "replace"))
            self.count += found
            return (text.encode(),) if found else None
        if kind == _RAW:
            return self._raw(start, end)
        try:
            if kind == _PAIR and self._is_secret_key(key := self._key(start, end)):
                self.count += 1
                name = key.encode()
                return b"\x0a", _length(len(name)), name, b"\x12", _length(len(ATTRIBUTE_MASK)), ATTRIBUTE_MASK
            anew = self._message(start, end, kind, first, depth + 1)
        except Broken:
            self.count += 1
            return ()
        return anew if self.count > before else None

    def _raw(self, start: int, end: int) -> Sequence[Piece] | None:
        """Bytes of unknown meaning: masked where they are text; others are left, as no secret stands readable in them."""
        try:
            text, found = self._mask(self._body[start:end].decode())
        except UnicodeDecodeError:
            return None
        self.count += found
        return (text.encode(),) if found else None

    def _key(self, start: int, end: int) -> str:
        """The name of an attribute."""
        body, place = self._body, start
        while place < end:
            tag, content = _varint(body, place, end)
            if tag & 7 != _BYTES:
                raise Broken("an attribute holds texts and messages only")
            size, content = _varint(body, content, end)
            if content + size > end:
                raise Broken("a field ends outside of its message")
            place = content + size
            if tag >> 3 == 1:
                return body[content:place].decode("utf-8", "replace")
        return ""


def _varint(body: bytes, place: int, end: int) -> tuple[int, int]:
    """The number at `place`, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= end:
            break
        byte = body[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise Broken("a number has no end")


def _tag(number: int) -> bytes:
    return _length(number << 3 | _BYTES)


def _length(size: int) -> bytes:
    """A number as it is written before a field's content.

    >>> _length(300).hex()
    'ac02'
    """
    written = bytearray()
    while size >= 0x80:
        written.append(size & 0x7F | 0x80)
        size >>= 7
    written.append(size)
    return bytes(written)
