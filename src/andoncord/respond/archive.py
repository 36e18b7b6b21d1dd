"""An evidence bundle as one file, and back. What comes in anybody may have made: it is bounded before it is believed."""

import io
import re
import stat
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from andoncord.kernel.canon import digest
from andoncord.kernel.errors import CallerError

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
MAX_FILES = 32
MAX_ARCHIVE_BYTES = 64 * 1024 * 1024
MAX_UNPACKED_BYTES = 128 * 1024 * 1024
CHUNK = 64 * 1024
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every file in an archive, so that the same bundle gives the same bytes."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What was found when a bundle was checked. `problems` empty: every file is what the manifest says."""

    sha256: str
    manifest: dict[str, Any]
    problems: tuple[str, ...]


def pack(files: Mapping[str, bytes]) -> bytes:
    """The files of a bundle as a ZIP archive; the same files give the same bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            about = zipfile.ZipInfo(name, EPOCH)
            about.compress_type = zipfile.ZIP_DEFLATED
            about.external_attr = (stat.S_IFREG | 0o600) << 16
            archive.writestr(about, files[name])
    return packed.getvalue()


def unpack(content: bytes) -> dict[str, bytes]:
    """The files of an archive, by name. Nothing is written anywhere.

    Raises:
        CallerError: it is no archive, or one that no bundle makes: with folders, links, the same name twice, or too much.
    """
    if len(content) > MAX_ARCHIVE_BYTES:
        raise CallerError(f"larger than {MAX_ARCHIVE_BYTES >> 20} MiB")
    files: dict[str, bytes] = {}
    left = MAX_UNPACKED_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            if len(members) > MAX_FILES:
                raise CallerError(f"{len(members)} files, and a bundle has at most {MAX_FILES}")
            for member in members:
                name = safe_name(member.filename)
                kind = stat.S_IFMT(member.external_attr >> 16)
                if kind not in (0, stat.S_IFREG) or name in files:
                    raise CallerError(f"{name} is a link, a folder, or there twice", remedy="this is no evidence bundle")
                files[name] = _read(archive, member, left)
                left -= len(files[name])
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise CallerError(f"cannot be read as an archive: {error}") from None
    return files


def safe_name(name: str) -> str:
    """`name`, if a file of a bundle may be called that: no folders, no way out of one.

    Raises:
        CallerError: it may not.

    >>> safe_name("events.jsonl")
    'events.jsonl'
    >>> safe_name("../events.jsonl")
    Traceback (most recent call last):
    ...
    andoncord.kernel.errors.CallerError: '../events.jsonl' is no name of a file of a bundle
    """
    if not _NAME.fullmatch(name) or ".." in name:
        raise CallerError(f"{name[:80]!r} is no name of a file of a bundle")
    return name


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, at_most: int) -> bytes:
    """A member, read piece by piece: the size that an archive states may be a lie."""
    pieces: list[bytes] = []
    with archive.open(member) as opened:
        while piece := opened.read(CHUNK):
            at_most -= len(piece)
            if at_most < 0:
                raise CallerError(f"unpacks to more than {MAX_UNPACKED_BYTES >> 20} MiB", remedy="this is no evidence bundle")
            pieces.append(piece)
    return b"".join(pieces)


def check(files: Mapping[str, bytes]) -> Checked:
    """Compare every file of a bundle with its manifest: a file that was changed, added or taken away is a problem.

    Raises:
        CallerError: there is no manifest that can be read.
    """
    try:
        manifest = files[MANIFEST]
        read = msgspec.json.decode(manifest)
        listed: Sequence[tuple[str, str, int]] = [
            (str(each["name"]), str(each["sha256"]), int(each["bytes"])) for each in read["files"]
        ]
    except (KeyError, TypeError, ValueError, msgspec.DecodeError):
        raise CallerError("there is no manifest that can be read", place=MANIFEST) from None
    problems: list[str] = []
    for name, sha256, size in listed:
        if name not in files:
            problems.append(f"{name} is missing")
        elif digest(files[name]) != sha256 or len(files[name]) != size:
            problems.append(f"{name} was changed after it was sealed")
    known = {name for name, _, _ in listed} | {MANIFEST, SIGNATURE}
    problems += [f"{name} is not in the manifest" for name in sorted(files) if name not in known]
    return Checked(sha256=digest(manifest), manifest=read, problems=tuple(problems))
