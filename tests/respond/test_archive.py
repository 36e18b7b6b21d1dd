"""Archives that anybody may have made."""

import io
import stat
import zipfile

import pytest

from andoncord.kernel.errors import CallerError
from andoncord.respond import archive
from andoncord.respond.archive import pack, unpack


def zipped(*members: tuple[str, bytes, int]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content, mode in members:
            about = zipfile.ZipInfo(name)
            about.external_attr = mode << 16
            about.compress_type = zipfile.ZIP_DEFLATED
            opened.writestr(about, content)
    return made.getvalue()


def test_what_is_packed_comes_back() -> None:
    """The same files, and the same bytes for the same files."""
    files = {"manifest.json": b"{}", "events.jsonl": b"\x00" * 100}

    assert unpack(pack(files)) == files
    assert pack(files) == pack(dict(reversed(files.items())))


@pytest.mark.parametrize(
    "content",
    [
        b"not an archive",
        zipped(("../outside", b"x", stat.S_IFREG)),
        zipped(("/etc/passwd", b"x", stat.S_IFREG)),
        zipped(("folder/file", b"x", stat.S_IFREG)),
        zipped(("link", b"/etc/passwd", stat.S_IFLNK)),
        zipped(*((f"file{number}", b"x", stat.S_IFREG) for number in range(archive.MAX_FILES + 1))),
        pack({"manifest.json": b"{}"})[:-8],
    ],
    ids=["garbage", "traversal", "absolute", "folder", "link", "many", "cut"],
)
def test_what_no_bundle_would_hold_is_refused(content: bytes) -> None:
    """Ways out, links, and more files than a bundle has: refused, with nothing written anywhere."""
    with pytest.raises(CallerError):
        unpack(content)


def test_a_bomb_is_stopped_while_it_unpacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is small packed and large unpacked is given up at the limit, whatever size it states."""
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", 1_000_000)
    bomb = zipped(("bomb", b"\x00" * 2_000_000, stat.S_IFREG))
    lying = bomb.replace((2_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))

    assert len(bomb) < 10_000
    for content in (bomb, lying):
        with pytest.raises(CallerError):
            unpack(content)
