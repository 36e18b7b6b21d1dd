"""Bodies of telemetry requests: how they may be compressed, and that a small one cannot become a huge one."""

import zstandard
from zlib_ng import zlib_ng

from andoncord.kernel.errors import CallerError

MAX_MEMBERS = 16
"""Parts a compressed body may be put together from; exporters send one."""
ZSTD_SLICE = 256
"""Bytes of a zstd body unpacked at a time. A block takes four and stands for 128 KiB at most, so a slice adds 8 MiB."""
ZSTD_WINDOW = 8 * 1024 * 1024
"""The largest window a zstd body may ask for: what RFC 8878 recommends that every decoder supports."""


class BodyTooLargeError(CallerError):
    """The body is larger than the limit, before or after decompression."""


class UnsupportedError(CallerError):
    """The body is written in a way that is not read here."""


def decompress(body: bytes, content_encoding: str, *, limit: int) -> bytes:
    """The body as it was before compression.

    Raises:
        BodyTooLargeError: it would be larger than `limit` bytes; little more than that is ever held.
        UnsupportedError: compressed in a way that is not read here.
        CallerError: it cannot be decompressed.

    >>> import gzip
    >>> decompress(gzip.compress(b"spans"), "gzip", limit=10)
    b'spans'
    >>> decompress(zstandard.compress(b"spans"), "zstd", limit=10)
    b'spans'
    """
    bare = content_encoding.strip().lower()
    if bare in ("", "identity"):
        if len(body) > limit:
            raise BodyTooLargeError(f"the body is larger than {limit} bytes", remedy="send smaller batches")
        return body
    if bare not in ("gzip", "deflate", "zstd"):
        raise UnsupportedError(f"content encoding {bare!r} is not supported", remedy="send gzip, zstd, deflate or nothing")
    member = _zstd_member if bare == "zstd" else _zlib_member
    whole = b""
    rest = body
    for _ in range(MAX_MEMBERS):
        try:
            part, rest, is_complete = member(rest, limit - len(whole))
        except (zlib_ng.error, zstandard.ZstdError) as error:  # type: ignore[misc]
            raise CallerError(f"the {bare} body cannot be decompressed: {error}") from None
        whole += part
        if len(whole) > limit:
            raise BodyTooLargeError(f"the body is larger than {limit} bytes decompressed", remedy="send smaller batches")
        if not is_complete:
            raise CallerError(f"the {bare} body ends too early")
        if not rest:
            return whole
    raise CallerError(f"the {bare} body has more than {MAX_MEMBERS} members")


def _zlib_member(body: bytes, limit: int) -> tuple[bytes, bytes, bool]:
    """The first member unpacked, up to one byte past the limit; what follows it; whether it was complete."""
    # 47: zlib or gzip, told apart by their first bytes.
    inflater = zlib_ng.decompressobj(wbits=47)
    return inflater.decompress(body, limit + 1), inflater.unused_data, inflater.eof


def _zstd_member(body: bytes, limit: int) -> tuple[bytes, bytes, bool]:
    """The same for zstd, whose decompressor takes no limit: it gets the body in slices."""
    inflater = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW).decompressobj()
    parts: list[bytes] = []
    size = place = 0
    while place < len(body) and not inflater.eof and size <= limit:
        parts.append(inflater.decompress(body[place : place + ZSTD_SLICE]))
        size += len(parts[-1])
        place += ZSTD_SLICE
    return b"".join(parts), inflater.unused_data + body[place:], inflater.eof
