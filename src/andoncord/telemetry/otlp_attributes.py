"""An attribute out of its bytes: what the generated classes make of it, without making their objects."""

import math
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from andoncord.telemetry.raw import MAX_DEPTH

_ONE_BYTE = 0x80
"""Lengths below this take one byte."""
_KEY, _VALUE, _TEXT, _INTEGER = 0x0A, 0x12, 0x0A, 0x18
"""First bytes: of the key and the value of an attribute, of a text and a whole number in a value."""


def attribute(pair: bytes) -> tuple[str, Any]:
    """The name of an attribute, and its value as a plain one.

    Raises:
        DecodeError: the bytes are no attribute.
    """
    size = len(pair)
    # The usual form is the key first, then one text or small number and nothing else.
    if size >= 6 and pair[0] == _KEY and (end := pair[1] + 2) + 4 <= size and end < _ONE_BYTE + 2 and pair[end] == _VALUE:
        # The length of the value takes one byte, or two or three where the text is long; so does that of the text in it.
        length, start = pair[end + 1], end + 2
        if length >= _ONE_BYTE:
            length, start = _varint(pair, end + 1)
        if start + length == size and length > 1:
            kind, number, text = pair[start], pair[start + 1], start + 2
            if number >= _ONE_BYTE:
                number, text = _varint(pair, start + 1)
            try:
                if kind == _TEXT and text + number == size:
                    return pair[2:end].decode(), pair[text:].decode()
                if kind == _INTEGER and text == size:
                    return pair[2:end].decode(), number
            except UnicodeDecodeError as wrong:
                raise DecodeError(f"text is not UTF-8: {wrong.reason}") from None
    whole = KeyValue.FromString(pair)
    return whole.key, plain_value(whole.value)


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """The number at `place`, where it takes two or three bytes, and the place after it; else a place that fits nowhere."""
    last = len(message) - 1
    if place >= last:
        return 0, -1
    byte, second = message[place], message[place + 1]
    if second < 0x80:
        return byte & 0x7F | second << 7, place + 2
    if place + 2 > last or message[place + 2] >= 0x80:
        return 0, -1
    return byte & 0x7F | (second & 0x7F) << 7 | message[place + 2] << 14, place + 3


def plain_value(value: Any, depth: int = 0) -> Any:
    """A value of the generated classes as a plain one; what is nested too deeply is left out."""
    which = value.WhichOneof("value")
    if which is None:
        return None
    if which == "array_value":
        return "…" if depth >= MAX_DEPTH else [plain_value(item, depth + 1) for item in value.array_value.values]
    if which == "kvlist_value":
        pairs = value.kvlist_value.values
        return "…" if depth >= MAX_DEPTH else {pair.key: plain_value(pair.value, depth + 1) for pair in pairs}
    plain = getattr(value, which)
    if which == "bytes_value":
        return plain.hex()
    return str(plain) if which == "double_value" and not math.isfinite(plain) else plain
