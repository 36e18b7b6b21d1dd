"""Secrets and personal data are masked before anything is stored (SIG-8).

One pass of a multi-pattern matcher over the body decides whether there is anything to do. Only then is the body decoded, its
leaf texts masked, and encoded again: masking encoded bytes in place corrupts protobuf, whose lengths stand before the text.
"""

import base64
import binascii
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any, Literal

import msgspec
import re2
import yaml
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from andoncord.kernel.canon import short_digest
from andoncord.kernel.errors import CallerError
from andoncord.telemetry.otlp_json import parse_any
from andoncord.telemetry.otlp_protobuf import parse
from andoncord.telemetry.raw import Unreadable

Signal = Literal["traces", "logs"]
MATCHER_BYTES = 64 * 1024 * 1024
"""Memory bound of a multi-pattern matcher; with the default of 8 MiB it keeps rebuilding its states [134 against 204 MB/s]."""
SHORTEST = 6
"""Texts with fewer characters than the shortest thing any pattern masks (`a@b.cd`) are not looked at."""
MAX_DEPTH = 200
"""Nesting masked of a JSON body; what lies deeper is replaced, since it cannot be looked at."""
TOO_DEEP = "[redacted:too-deep]"

_ESCAPES = (b"\\u", b"\\/")
"""In a JSON body these can hide a secret from a matcher that reads the bytes."""
_FIXED = frozenset(
    {
        "traceId",
        "spanId",
        "parentSpanId",
        "startTimeUnixNano",
        "endTimeUnixNano",
        "timeUnixNano",
        "observedTimeUnixNano",
        "intValue",
        "trace_id",
        "span_id",
        "parent_span_id",
        "start_time_unix_nano",
        "end_time_unix_nano",
        "time_unix_nano",
        "observed_time_unix_nano",
        "int_value",
        "key",
    }
)
"""Fields that are ids, times, numbers and names: digits in them are no card numbers."""


class PatternSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One pattern as it is written in `redaction/patterns.yaml`."""

    tag: str
    pattern: str
    mask: int = 0
    check: str = ""
    distinguish: bool = False


class PatternFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The pattern file."""

    version: int
    patterns: tuple[PatternSpec, ...]
    keys: tuple[str, ...] = ()


class Redactor:
    """Masks by one pattern file. Stateless after construction.

    >>> default_redactor().text("use AKIAIOSFODNN7EXAMPLE please")
    ('use [redacted:aws-access-key] please', 1)
    """

    def __init__(self, patterns: PatternFile) -> None:
        self._specs = [
            (spec, re2.compile(spec.pattern), CHECKS[spec.check] if spec.check else None) for spec in patterns.patterns
        ]
        self._keys = frozenset(patterns.keys)
        options = re2.Options()
        options.max_mem = MATCHER_BYTES
        self._texts = re2.Set.SearchSet(options)
        self._bodies = re2.Set.SearchSet(options)
        for spec in patterns.patterns:
            self._texts.Add(spec.pattern)
            self._bodies.Add(spec.pattern)
        self._texts.Compile()
        if self._keys:
            self._bodies.Add("(?i)(?:" + "|".join(re2.escape(key) for key in patterns.keys) + r')(?:"|\x12)')
        self._bodies.Compile()

    def text(self, text: str) -> tuple[str, int]:
        """`text` with everything secret or personal replaced by tags, and how many were."""
        if len(text) < SHORTEST:
            return text, 0
        count = 0
        for index in sorted(self._texts.Match(text) or ()):
            spec, compiled, check = self._specs[index]
            text, replaced = _mask(text, spec, compiled, check)
            count += replaced
        return text, count

    def touches(self, body: bytes) -> bool:
        """Whether a body may hold anything to mask. False is certain, True is a suspicion."""
        return bool(self._bodies.Match(body))

    def json(self, body: bytes) -> tuple[bytes, int]:
        """Mask the texts of a JSON body; a body that is no JSON is masked as text."""
        hidden = any(escape in body for escape in _ESCAPES)
        if not hidden and not self.touches(body):
            return body, 0
        try:
            decoded = parse_any(body)
        except Unreadable:
            return self._garbage(body)
        if hidden and not self.touches(body) and not self.touches(msgspec.json.encode(decoded)):
            return body, 0
        masked, count = self._json_value(decoded, "", 0)
        return (msgspec.json.encode(masked), count) if count else (body, 0)

    def protobuf(self, body: bytes, signal: Signal | None) -> tuple[bytes, int]:
        """Mask the texts of a protobuf export. Without a signal the ids tell: log records read as spans have none."""
        if not self.touches(body):
            return body, 0
        try:
            message: Any = parse(ExportLogsServiceRequest if signal == "logs" else ExportTraceServiceRequest, body)
            if signal is None and not _has_ids(message):
                message = parse(ExportLogsServiceRequest, body)
        except Unreadable:
            return self._garbage(body)
        count = self._message(message)
        return (message.SerializeToString(), count) if count else (body, 0)

    def _garbage(self, body: bytes) -> tuple[bytes, int]:
        """A body nobody can decode: masked where it is text. Other bytes are cut out whole, for they cannot be looked into."""
        try:
            masked, count = self.text(body.decode())
        except UnicodeDecodeError:
            return b"[redacted:undecodable]", 1
        return (masked.encode(), count) if count else (body, 0)

    def _json_value(self, value: Any, field: str, depth: int) -> tuple[Any, int]:
        if isinstance(value, str):
            return (value, 0) if field in _FIXED else self.text(value)
        if depth >= MAX_DEPTH:
            return TOO_DEEP, 1
        count = 0
        if isinstance(value, dict):
            if self._is_secret_key(value.get("key")) and isinstance(value.get("value"), dict):
                return {**value, "value": {"stringValue": "[redacted:attribute]"}}, 1
            for name, item in value.items():
                value[name], masked = self._json_value(item, name, depth + 1)
                count += masked
        elif isinstance(value, list):
            for index, item in enumerate(value):
                value[index], masked = self._json_value(item, field, depth + 1)
                count += masked
        return value, count

    def _message(self, message: Message) -> int:
        count = 0
        for descriptor, value in message.ListFields():
            name = descriptor.name
            if descriptor.type == descriptor.TYPE_STRING:
                if name != "key" and not descriptor.is_repeated:
                    masked, found = self.text(value)
                    if found:
                        setattr(message, name, masked)
                        count += found
            elif descriptor.type == descriptor.TYPE_BYTES:
                if name == "bytes_value":
                    masked_bytes, found = self._garbage(value)
                    if found and masked_bytes != b"[redacted:undecodable]":
                        setattr(message, name, masked_bytes)
                        count += found
            elif descriptor.type == descriptor.TYPE_MESSAGE:
                for item in value if descriptor.is_repeated else (value,):
                    if item.DESCRIPTOR.name == "KeyValue" and self._is_secret_key(item.key):
                        item.value.string_value = "[redacted:attribute]"
                        count += 1
                    else:
                        count += self._message(item)
        return count

    def _is_secret_key(self, key: Any) -> bool:
        if not isinstance(key, str):
            return False
        lowered = key.lower()
        return lowered in self._keys or lowered.rpartition(".")[2] in self._keys


def redact_text(text: str) -> tuple[str, int]:
    """`text` masked by the packaged patterns, and how many places were."""
    return default_redactor().text(text)


def redact_body(body: bytes, *, content_type: str, signal: Signal | None = None) -> tuple[bytes, int]:
    """An OTLP body masked by the packaged patterns, and how many places were.

    Args:
        body: decompressed.
        content_type: anything with `json` in it is JSON; all else is protobuf.
        signal: which export it is; found out from the body when None.

    >>> redact_body(b'{"a": "Bearer abcdefghijklmnopqrst"}', content_type="application/json")
    (b'{"a":"Bearer [redacted:bearer]"}', 1)
    """
    redactor = default_redactor()
    return redactor.json(body) if "json" in content_type else redactor.protobuf(body, signal)


def parse_patterns(text: str, *, place: str) -> PatternFile:
    """Read a pattern file.

    Raises:
        CallerError: it is no pattern file, or a pattern or check in it does not exist.
    """
    try:
        patterns = msgspec.convert(yaml.safe_load(text), PatternFile)
        for spec in patterns.patterns:
            re2.compile(spec.pattern)
            if spec.check and spec.check not in CHECKS:
                raise CallerError(
                    f"unknown check {spec.check!r}", place=f"{place}: {spec.tag}", remedy=f"use one of {sorted(CHECKS)}"
                )
    except (msgspec.ValidationError, yaml.YAMLError, re2.error) as wrong:
        raise CallerError(
            f"not a pattern file: {wrong}", place=place, remedy="compare with the packaged patterns.yaml"
        ) from wrong
    return patterns


@cache
def default_redactor() -> Redactor:
    """The redactor of the packaged patterns. Package data, read once."""
    text = resources.files("andoncord").joinpath("redaction/patterns.yaml").read_text(encoding="utf-8")
    return Redactor(parse_patterns(text, place="redaction/patterns.yaml"))


def _mask(text: str, spec: PatternSpec, compiled: Any, check: Callable[[str], bool] | None) -> tuple[str, int]:
    pieces: list[str] = []
    end = 0
    for match in compiled.finditer(text):
        secret = match.group(spec.mask)
        if not secret or "[redacted:" in secret or (check is not None and not check(secret)):
            continue
        start = match.start(spec.mask)
        tag = f"{spec.tag}-{short_digest(secret.lower(), length=3)}" if spec.distinguish else spec.tag
        pieces += (text[end:start], f"[redacted:{tag}]")
        end = match.end(spec.mask)
    return ("".join([*pieces, text[end:]]), len(pieces) // 2) if pieces else (text, 0)


def _has_ids(traces: Any) -> bool:
    return any(span.trace_id for resource in traces.resource_spans for scope in resource.scope_spans for span in scope.spans)


def _luhn(text: str) -> bool:
    digits = [int(character) for character in text if character.isdigit()]
    if len(set(digits)) < 2:
        return False
    doubled = (digit if index % 2 == 0 else digit * 2 - 9 * (digit > 4) for index, digit in enumerate(reversed(digits)))
    return sum(doubled) % 10 == 0


def _ssn(text: str) -> bool:
    """Whether the number can have been issued: no 000, 666 or 9xx area, no 00 group, no 0000 serial."""
    area, group, serial = text.split("-")
    return area not in ("000", "666") and group != "00" and serial != "0000"


def _iban(text: str) -> bool:
    """Whether the check digits hold (ISO 7064, modulo 97)."""
    compact = text.replace(" ", "")
    moved = compact[4:] + compact[:4]
    return 15 <= len(compact) <= 34 and int("".join(str(int(character, 36)) for character in moved)) % 97 == 1


def _mixed(text: str) -> bool:
    """Whether a value looks like a secret rather than a word or a piece of code: letters and digits, no dots or brackets."""
    return any(map(str.isdigit, text)) and any(map(str.isalpha, text)) and "." not in text


def _basic_auth(text: str) -> bool:
    """Whether it is base64 of `user:password`."""
    try:
        return b":" in base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        return False


CHECKS: dict[str, Callable[[str], bool]] = {
    "luhn": _luhn,
    "ssn": _ssn,
    "iban": _iban,
    "mixed": _mixed,
    "basic_auth": _basic_auth,
}
"""Tests a match must pass before it is masked, by the name used in the pattern file."""
