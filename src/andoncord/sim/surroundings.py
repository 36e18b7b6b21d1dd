"""The two kinds of surroundings: a directory that processes share, and a dictionary for virtual time."""

from pathlib import Path


class SharedFolder:
    """Shelves as files of lines in one directory; read anew each time, as a mounted folder would be."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def lines(self, shelf: str) -> tuple[str, ...]:
        try:
            return tuple((self._directory / f"{shelf}.txt").read_text(encoding="utf-8").splitlines())
        except FileNotFoundError:
            return ()

    def put(self, shelf: str, line: str) -> None:
        """Lay one more line on a shelf."""
        with (self._directory / f"{shelf}.txt").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def clear(self, shelf: str) -> None:
        """Take everything off a shelf."""
        (self._directory / f"{shelf}.txt").unlink(missing_ok=True)


class Shelves:
    """The same in memory.

    >>> shelves = Shelves()
    >>> shelves.put("uploads", "a line")
    >>> shelves.lines("uploads"), shelves.lines("inbox")
    (('a line',), ())
    """

    def __init__(self) -> None:
        self._shelves: dict[str, list[str]] = {}

    def lines(self, shelf: str) -> tuple[str, ...]:
        return tuple(self._shelves.get(shelf, ()))

    def put(self, shelf: str, line: str) -> None:
        """Lay one more line on a shelf."""
        self._shelves.setdefault(shelf, []).append(line)

    def clear(self, shelf: str) -> None:
        """Take everything off a shelf."""
        self._shelves.pop(shelf, None)
