"""Compressed bodies: read as they were, and never more of them than the limit."""

import gzip
import zlib
from collections.abc import Callable

import pytest
import zstandard

from andoncord.kernel.errors import CallerError
from andoncord.server.bodies import MAX_MEMBERS, ZSTD_WINDOW, BodyTooLargeError, UnsupportedError, decompress

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstandard.compress}
NAMES = sorted(COMPRESSORS)


@pytest.mark.parametrize("name", NAMES)
def test_compressed_bodies_are_read(name: str) -> None:
    """A body of exactly the limit comes back as it was, and so does an empty one."""
    assert decompress(COMPRESSORS[name](b"x" * 5_000), name, limit=5_000) == b"x" * 5_000
    assert decompress(COMPRESSORS[name](b""), name.upper(), limit=10) == b""


@pytest.mark.parametrize("name", NAMES)
def test_a_bomb_is_refused_without_being_unpacked(name: str) -> None:
    """A small body that would become a huge one is refused at the limit, and so is one whose parts do together."""
    with pytest.raises(BodyTooLargeError):
        decompress(COMPRESSORS[name](b"\0" * 50_000_000), name, limit=1_000_000)
    with pytest.raises(BodyTooLargeError):
        decompress(COMPRESSORS[name](b"\0" * 600) * 2, name, limit=1_000)
    with pytest.raises(CallerError, match="members"):
        decompress(COMPRESSORS[name](b"") * (MAX_MEMBERS + 1), name, limit=1_000)


def test_a_zstd_body_cannot_ask_for_a_huge_window() -> None:
    """The memory a frame says it needs is bounded too."""
    parameters = zstandard.ZstdCompressionParameters(window_log=ZSTD_WINDOW.bit_length())
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    greedy = compressor.compress(b"spans") + compressor.flush()

    with pytest.raises(CallerError, match="memory"):
        decompress(greedy, "zstd", limit=1_000)


@pytest.mark.parametrize("name", NAMES)
def test_broken_compression_is_the_callers_error(name: str) -> None:
    """Garbage, cut and empty bodies are refused with a reason."""
    for body in (b"neither of them", COMPRESSORS[name](b"spans" * 100)[:-4], b""):
        with pytest.raises(CallerError, match=name):
            decompress(body, name, limit=1_000)


def test_other_compressions_are_unsupported() -> None:
    """What cannot be read is said to be so, with what can."""
    with pytest.raises(UnsupportedError, match="zstd"):
        decompress(b"", "br", limit=10)
