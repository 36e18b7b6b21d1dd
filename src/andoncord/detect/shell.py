"""Which files a shell command changes, as far as its text tells: redirects, editors, patches, scripts, and what undoes them.

Variables, loops and what other programs do inside are not followed; a file that only they change is missed.
"""

import posixpath
import re
import shlex
from collections.abc import Iterator
from enum import StrEnum

import msgspec

MAX_COMMAND = 65_536
MAX_PARTS = 256
_HEREDOC = re.compile(r"<<-?\s*(['\"]?)(\w+)\1([^\n]*)\n(.*?)\n?^\s*\2\s*$", re.DOTALL | re.MULTILINE)
_OPERATORS = frozenset({"&&", "||", ";", "|", "&", "\n", "|&", ";;", "(", ")"})
_WRITES = frozenset({">", ">>", ">|", "&>", "&>>", ">&"})
_DIFF_FILE = re.compile(r"^(?:\+\+\+ (?:[a-z]/)?|\*\*\* (?:Update|Delete) File: )([^\t\n]+)", re.MULTILINE)
_ASSIGNED = re.compile(r"^\s*(\w+)\s*=\s*(?:(?:pathlib\.)?Path\()?[rb]?['\"]([^'\"\n]+)['\"]", re.MULTILINE)
_OPENED = re.compile(r"\bopen\(\s*(?:[rb]?['\"]([^'\"\n]+)['\"]|(\w+))\s*,\s*(?:mode\s*=\s*)?['\"]([rwaxbt+]+)['\"]")
_PATH_WRITE = re.compile(r"(?:\bPath\(\s*(?:[rb]?['\"]([^'\"\n]+)['\"]|(\w+))\s*\)|\b(\w+))\.write_(?:text|bytes)\(")
_NODE_WRITE = re.compile(r"\b(?:write|append)File(?:Sync)?\(\s*['\"`]([^'\"`\n]+)['\"`]")
_SWAP = re.compile(
    r"(?:\d+|\$)?s(?P<mark>[/|#,@!])(?P<old>(?:\\.|(?!(?P=mark)).)*)(?P=mark)(?P<new>(?:\\.|(?!(?P=mark)).)*)(?P=mark)\w*"
)
_INTERPRETER = re.compile(r"(?:python[\d.]*|node|ruby|perl|bash|sh|pypy\d*)")
_PREFIXES = frozenset({"sudo", "time", "env", "command", "nohup", "exec", "then", "do", "else", "if", "!", "{", "builtin"})


class ChangeKind(StrEnum):
    """What happens to a file."""

    WRITTEN = "written"
    """Replaced as a whole: whether it existed before does not show."""
    EDITED = "edited"
    """Changed in place or added to: it existed."""
    DELETED = "deleted"
    UNDONE = "undone"
    """Back to what version control has, or to a copy made before."""
    ALL_UNDONE = "all_undone"


class Change(msgspec.Struct, frozen=True):
    """One change of one file."""

    path: str
    """As written, joined to the directory the command had changed to; '' when all files are meant."""
    kind: ChangeKind
    swap: tuple[str, str] | None = None
    """What was replaced by what, where the change says so."""


def shell_changes(command: str, scripts: dict[str, str]) -> list[Change]:
    r"""The changes in the order in which the command makes them.

    Args:
        scripts: text of script files written so far; added to.

    >>> [(change.path, change.kind.value) for change in shell_changes("cd src && sed -i 's/a/b/' x.py; git checkout y.py", {})]
    [('src/x.py', 'edited'), ('src/y.py', 'undone')]
    """
    command = command[:MAX_COMMAND]
    bodies: list[str] = []

    def keep(match: re.Match[str]) -> str:
        bodies.append(match[4])
        return f"<< __HEREDOC_{len(bodies) - 1} {match[3]}\n"

    reduced = _HEREDOC.sub(keep, command)
    where = ""
    found: list[Change] = []
    for words, writes, body in _commands(reduced, bodies):
        if words and words[0] in ("cd", "pushd"):
            where = posixpath.join(where, words[1]) if len(words) > 1 else ""
            continue
        for path, mark in writes:
            full = _joined(where, path)
            if words and words[0] in ("cat", "echo", "printf") and body is not None and mark != ">>":
                scripts[full] = body
            found.append(Change(full, ChangeKind.EDITED if mark.endswith(">>") else ChangeKind.WRITTEN))
        if words:
            found += (_at(where, change) for change in _simple(words, body, where, scripts))
    return found[:MAX_PARTS]


def script_changes(text: str) -> Iterator[Change]:
    r"""Files that a script in Python or JavaScript opens for writing by a literal name, or a variable that has one.

    >>> [change.path for change in script_changes("p = 'a.py'\nopen(p, 'w').write('')")]
    ['a.py']
    """
    names = dict(_ASSIGNED.findall(text))
    for literal, name, mode in _OPENED.findall(text):
        path = literal or names.get(name, "")
        if path and set(mode) & set("wax+"):
            kind = ChangeKind.EDITED if "r" in mode or "a" in mode or _is_read(text, path, name) else ChangeKind.WRITTEN
            yield Change(path, kind)
    for literal, inner, name in _PATH_WRITE.findall(text):
        path = literal or names.get(inner or name, "")
        if path:
            yield Change(path, ChangeKind.EDITED if _is_read(text, path, inner or name) else ChangeKind.WRITTEN)
    for path in _NODE_WRITE.findall(text):
        yield Change(path, ChangeKind.WRITTEN)


def diff_changes(text: str, *, is_reverse: bool = False) -> Iterator[Change]:
    """The files a patch changes."""
    for match in _DIFF_FILE.finditer(text):
        path = match[1].strip()
        if path != "/dev/null":
            yield Change(path, ChangeKind.UNDONE if is_reverse else ChangeKind.EDITED)


def _is_read(text: str, path: str, name: str) -> bool:
    target = rf"(?:['\"]{re.escape(path)}['\"]" + (rf"|{re.escape(name)})" if name else ")")
    return re.search(rf"open\(\s*{target}\s*(?:,\s*['\"]r[bt]?['\"])?\s*[,)]|{target}\)?\.read_", text) is not None


def _commands(text: str, bodies: list[str]) -> Iterator[tuple[list[str], list[tuple[str, str]], str | None]]:
    """Simple commands: words, files written to with the operator, and the text of a here-document."""
    words: list[str] = []
    writes: list[tuple[str, str]] = []
    body: str | None = None
    tokens = _tokens(text)
    place = 0
    while place < len(tokens):
        token = tokens[place]
        follower = tokens[place + 1] if place + 1 < len(tokens) else ""
        if token in _OPERATORS:
            yield words, writes, body
            words, writes, body = [], [], None
        elif token in _WRITES:
            if words and words[-1] in ("1", "2"):
                words.pop()
            if follower and not follower.startswith(("&", "/dev/")) and not follower.isdigit():
                writes.append((follower, token))
            place += 1
        elif token == "<<" and follower.startswith("__HEREDOC_"):
            body = bodies[int(follower.removeprefix("__HEREDOC_"))]
            place += 1
        elif token in ("<", "<<", "<<<"):
            place += 1
        else:
            words.append(token)
        place += 1
    yield words, writes, body


def _tokens(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";&|<>()\n")
    lexer.whitespace = " \t\r"
    lexer.whitespace_split = True
    lexer.commenters = ""
    tokens: list[str] = []
    try:
        for token in lexer:
            is_break = "\n" in token and set(token) <= set("\n;&|()")
            tokens.append(";" if is_break or token in (";;", ")", "(") else token)
    except ValueError:
        # Quotes that do not close: what was read so far stands.
        pass
    return tokens


def _joined(where: str, path: str) -> str:
    return posixpath.normpath(posixpath.join(where, path)) if path else path


def _at(where: str, change: Change) -> Change:
    return msgspec.structs.replace(change, path=_joined(where, change.path)) if change.path else change


def _simple(words: list[str], body: str | None, where: str, scripts: dict[str, str]) -> Iterator[Change]:
    while words and (words[0] in _PREFIXES or re.fullmatch(r"\w+=.*", words[0])):
        words = words[1:]
    if not words:
        return
    name, rest = posixpath.basename(words[0]), words[1:]
    plain = [word for word in rest if not word.startswith("-")]
    if name in ("sed", "perl") and _is_in_place(name, rest):
        yield from _stream_edit(name, rest)
    elif name == "tee":
        kind = ChangeKind.EDITED if "-a" in rest or "--append" in rest else ChangeKind.WRITTEN
        yield from (Change(path, kind) for path in plain if not path.startswith("/dev/"))
    elif name == "rm":
        yield from (Change(path, ChangeKind.DELETED) for path in plain)
    elif name in ("mv", "cp") and len(plain) >= 2:
        yield from _moved(name, plain)
    elif name in ("truncate", "ed", "ex"):
        yield from (Change(path, ChangeKind.EDITED) for path in plain[-1:])
    elif name == "dd":
        yield from (Change(word[3:], ChangeKind.WRITTEN) for word in rest if word.startswith("of="))
    elif name == "patch":
        yield from _patched(rest, plain, body)
    elif name == "git":
        yield from _git(rest, body)
    elif _INTERPRETER.fullmatch(name):
        yield from _interpreted(name, rest, body if body is not None else "", where, scripts)


def _moved(name: str, plain: list[str]) -> Iterator[Change]:
    """`mv` and `cp`; a copy that goes back to where it was made from undoes what came between."""
    target = plain[-1]
    into = target.endswith("/") or target in (".", "..") or len(plain) > 2
    for source in plain[:-1]:
        if name == "mv":
            yield Change(source, ChangeKind.DELETED)
        path = posixpath.join(target, posixpath.basename(source)) if into else target
        is_back = posixpath.basename(source).startswith(posixpath.basename(path) + ".")
        yield Change(path, ChangeKind.UNDONE if is_back else ChangeKind.WRITTEN)


def _patched(rest: list[str], plain: list[str], body: str | None) -> Iterator[Change]:
    is_reverse = any(word in ("-R", "--reverse") for word in rest)
    if plain:
        yield Change(plain[0], ChangeKind.UNDONE if is_reverse else ChangeKind.EDITED)
    elif body:
        yield from diff_changes(body, is_reverse=is_reverse)


def _interpreted(name: str, rest: list[str], text: str, where: str, scripts: dict[str, str]) -> Iterator[Change]:
    for flag in ("-c", "-e"):
        if flag in rest[:-1]:
            text = rest[rest.index(flag) + 1]
    plain = [word for word in rest if not word.startswith("-")]
    if plain and (script := scripts.get(_joined(where, plain[0]))) is not None:
        text = script
    if name in ("bash", "sh") and text:
        yield from shell_changes(text, {})
    else:
        yield from script_changes(text)


def _is_in_place(name: str, rest: list[str]) -> bool:
    if name == "perl":
        return any(re.fullmatch(r"-[a-z0-9]*i.*", word) for word in rest)
    return any(re.fullmatch(r"-[nErsuz]*i.*|--in-place.*", word) for word in rest)


def _stream_edit(name: str, rest: list[str]) -> Iterator[Change]:
    has_script, scripts, files, skip = False, [], [], False
    for place, word in enumerate(rest):
        if skip:
            skip = False
        elif word in ("-e", "-f", "--expression") or (name == "perl" and re.fullmatch(r"-\w*e", word)):
            has_script, skip = True, True
            scripts += rest[place + 1 : place + 2]
        elif not word.startswith("-"):
            files.append(word)
    if not has_script and files:
        scripts.append(files.pop(0))
    match = _SWAP.fullmatch(scripts[0]) if len(scripts) == 1 else None
    swap = (match["old"], match["new"]) if match else None
    yield from (Change(path, ChangeKind.EDITED, swap) for path in files if path)


def _git(rest: list[str], body: str | None) -> Iterator[Change]:
    while len(rest) > 1 and rest[0] in ("-C", "-c"):
        rest = rest[2:]
    rest = [word for word in rest if word != "--no-pager"]
    act, given = (rest[0], rest[1:]) if rest else ("", [])
    plain = [word for word in given if not word.startswith("-")]
    if act in ("checkout", "restore"):
        if "-b" in given or "--staged" in given:
            return
        for path in plain:
            yield Change("", ChangeKind.ALL_UNDONE) if path in (".", ":/") else Change(path, ChangeKind.UNDONE)
    elif (act == "stash" and (not plain or plain[0] in ("push", "save"))) or (act == "reset" and "--hard" in given):
        yield Change("", ChangeKind.ALL_UNDONE)
    elif act == "rm" and "--cached" not in given:
        yield from (Change(path, ChangeKind.DELETED) for path in plain)
    elif act == "mv" and len(plain) == 2:
        yield Change(plain[0], ChangeKind.DELETED)
        yield Change(plain[1], ChangeKind.WRITTEN)
    elif act == "apply" and body:
        yield from diff_changes(body, is_reverse="-R" in given or "--reverse" in given)
