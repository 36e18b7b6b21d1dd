"""The scope of a task: which files its agent may change, as globs."""

import posixpath
import re
from functools import lru_cache

import msgspec

from andoncord.kernel.errors import CallerError
from andoncord.policy.document import read_documents


class PathGlobs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Globs by what is done to a file. `*` stays within one folder, `**` does not."""

    modify: tuple[str, ...] = ()
    create: tuple[str, ...] = ()


class Scope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `andon analyze --scope` reads. Globs are relative to `root`; what is forbidden wins."""

    root: str = ""
    """Folder the task works in, as its commands see it."""
    rule: str = ""
    """The rule in words, for people."""
    note: str = ""
    allowed: PathGlobs = PathGlobs(modify=("**",), create=("**",))
    forbidden: PathGlobs = PathGlobs()

    def relative(self, path: str) -> str:
        """`path` from the root, normalised; still absolute when it lies elsewhere.

        >>> Scope(root="/repo").relative("/repo/./src/a.py"), Scope(root="/repo").relative("/etc/hosts")
        ('src/a.py', '/etc/hosts')
        """
        path = posixpath.normpath(path)
        root = posixpath.normpath(self.root) if self.root else ""
        if root and (path == root or path.startswith(root + "/")):
            return path[len(root) + 1 :] or "."
        return path

    def verdict(self, path: str) -> str:
        """`forbidden`, `outside` (no glob allows it) or `allowed`, for a change of an existing file, relative to the root."""
        if any(_glob(pattern).fullmatch(path) for pattern in self.forbidden.modify):
            return "forbidden"
        return "allowed" if any(_glob(pattern).fullmatch(path) for pattern in self.allowed.modify) else "outside"


@lru_cache(maxsize=1_024)
def _glob(pattern: str) -> re.Pattern[str]:
    parts: list[str] = []
    place = 0
    while place < len(pattern):
        if pattern.startswith("**/", place):
            parts.append("(?:.*/)?")
            place += 3
        elif pattern.startswith("**", place):
            parts.append(".*")
            place += 2
        else:
            char = pattern[place]
            parts.append("[^/]*" if char == "*" else "[^/]" if char == "?" else re.escape(char))
            place += 1
    return re.compile("".join(parts), re.DOTALL)


def load_scope(text: str, *, place: str) -> Scope:
    """A scope from JSON or YAML.

    Raises:
        CallerError: with place and remedy.

    >>> load_scope('{"forbidden": {"modify": ["tests/**"]}}', place="scope.json").verdict("tests/a.py")
    'forbidden'
    """
    documents = tuple(read_documents(text, place=place))
    if len(documents) != 1:
        raise CallerError("a scope file holds one document", place=place, remedy="keep one")
    try:
        return msgspec.convert(documents[0].value, Scope)
    except msgspec.ValidationError as wrong:
        remedy = "use root, rule, note, allowed and forbidden; the last two hold modify and create, lists of globs"
        raise CallerError(str(wrong), place=place, remedy=remedy) from None
