"""Where detectors keep what they have learned: one small file a rule, replaced as a whole."""

from pathlib import Path

SUFFIX = ".state"


class MemoryFiles:
    """A folder of files by name. Losing one costs a warm-up, so none is forced to the disk.

    Args:
        folder: made when something is first kept; names are slugs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, name: str, body: bytes) -> None:
        """Replace what is kept under a name."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._folder / f"{name}{SUFFIX}"
        beside = path.with_suffix(".new")
        beside.write_bytes(body)
        beside.replace(path)

    def kept(self) -> dict[str, bytes]:
        """Everything that is kept, by name."""
        if not self._folder.is_dir():
            return {}
        return {path.stem: path.read_bytes() for path in sorted(self._folder.glob(f"*{SUFFIX}"))}
