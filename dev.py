"""Set up Andoncord on a fresh machine, then run it or test it.

    python3 dev.py demo     the demo: a simulated fleet goes wrong and is caught, stopped, explained and brought back
    python3 dev.py check    everything that must hold: format, lint, types, layers, all tests
    python3 dev.py setup    only make the environment, in .venv
    python3 dev.py nightly  what takes too long for every change
    python3 dev.py adapters the SDK's adapters, each framework in an environment of its own (`adapters NAME…` for some of them)
    python3 dev.py peers    the servers that benchmarks compare with, in an environment of their own
    python3 dev.py lock     write requirements.lock anew (`--upgrade` takes newer versions)

Needs Python 3.11 or newer, with pip and venv, and nothing else: this file uses the standard library alone, and parses on older
versions of Python so that it can say which one is needed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
LOCK = ROOT / "requirements.lock"
STAMP = VENV / "andoncord-stamp"
"""Holds the digest of everything the environment was made from."""

NEEDED = (3, 11)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PEERS = ROOT / "benchmarks" / "peers" / "requirements.txt"
"""The servers that benchmarks compare with."""
ADAPTERS = ROOT / "sdk" / "tests" / "instrument"
"""Each folder with a requirements.txt holds the tests of one adapter."""
EXPORT = ["--all-packages", "--all-groups", "--no-emit-workspace", "--no-header", "--format", "requirements.txt", "--quiet"]

LOCK_HEADING = """\
# Every dependency of both packages and of their tests, with the digests of the files that may be installed.
# Written by `just lock`. It names no host: the files come from the index that pip or uv is set up to use.
"""


class Refusal(Exception):
    """Something is missing that this script may not or cannot provide; the message says what to do."""


def main(arguments: list[str]) -> int:
    """Do what the command line asks and return the exit code."""
    commands = {
        "setup": setup,
        "demo": demo,
        "check": check,
        "nightly": nightly,
        "adapters": adapters,
        "peers": peers,
        "lock": lock,
    }
    if not arguments or arguments[0] not in commands:
        print(__doc__)
        return 0 if arguments[:1] in (["-h"], ["--help"]) else 2
    # Demo, tests and benchmarks start many servers; without compiled modules each of them compiles everything anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        require_python()
        return commands[arguments[0]](arguments[1:])
    except Refusal as refusal:
        print(f"dev.py: {refusal}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as failure:
        print(f"dev.py: this command failed: {' '.join(map(str, failure.cmd))}", file=sys.stderr)
        return failure.returncode or 1


def demo(arguments: list[str]) -> int:
    """Run `andon demo`."""
    setup([])
    become([str(BIN / "andon"), "demo", *arguments])


def check(arguments: list[str]) -> int:
    """Run `just check`, with the system packages that tests need in place."""
    require_browser()
    require_postgres()
    setup([])
    become([str(BIN / "just"), "check", *arguments])


def nightly(arguments: list[str]) -> int:
    """Run `just nightly`."""
    require_browser()
    require_postgres()
    setup([])
    become([str(BIN / "just"), "nightly", *arguments])


def setup(_: list[str]) -> int:
    """Make .venv and install everything into it, unless that is done already."""
    digest = inputs_digest()
    if STAMP.exists() and STAMP.read_text() == digest and PYTHON.exists():
        return 0
    make_environment()
    if not (BIN / "uv").exists():
        pip_install(["--require-hashes", "--requirement", uv_alone()])
    print("dev.py: installing the pinned requirements into .venv", flush=True)
    install(["--require-hashes", "--requirement", LOCK])
    install(["--no-deps", "--no-build-isolation", "--editable", ROOT / "sdk", "--editable", ROOT])
    STAMP.write_text(digest)
    return 0


def adapters(arguments: list[str]) -> int:
    """Test adapters of the SDK, each in an environment with the framework as its requirements.txt pins it."""
    setup([])
    known = sorted(path.parent.name for path in ADAPTERS.glob("*/requirements.txt"))
    if unknown := [name for name in arguments if name not in known]:
        raise Refusal(f"there is no adapter {unknown[0]!r}: choose from {', '.join(known)}")
    failed = []
    for name in arguments or known:
        tests, venv = ADAPTERS / name, VENV / "adapters" / name
        make_environment(venv)
        install(["--requirement", tests / "requirements.txt", "pytest>=8.3"], venv)
        print(f"dev.py: {name}", flush=True)
        command = [str(python_of(venv)), "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)]
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join((str(ROOT / "sdk/src"), str(ROOT / "src"))))
        if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"dev.py: these adapters failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def peers(_: list[str]) -> int:
    """Install the servers that `just bench ingest` compares with, into .venv/peers."""
    setup([])
    venv = VENV / "peers"
    make_environment(venv)
    install(["--requirement", PEERS], venv)
    return 0


def lock(arguments: list[str]) -> int:
    """Resolve the dependencies anew and write requirements.lock, without naming the index they came from."""
    setup([])
    run([BIN / "uv", "lock", "--quiet", *arguments])
    exported = subprocess.run(
        [str(BIN / "uv"), "export", "--frozen", *EXPORT], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    LOCK.write_text(LOCK_HEADING + exported)
    return 0


# --------------------------------------------------------------------------------------------------------------------- pieces


def install(arguments: Sequence[str | Path], venv: Path = VENV) -> None:
    """Install with uv, which is fast; where it cannot reach the packages, with pip, which may know another mirror."""
    environment = dict(os.environ, VIRTUAL_ENV=str(venv))
    command = [str(argument) for argument in (BIN / "uv", "pip", "install", "--quiet", *arguments)]
    if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0:
        return
    print("dev.py: uv could not install; trying pip, which reads pip's own configuration", file=sys.stderr, flush=True)
    pip_install(arguments, python_of(venv))


def pip_install(arguments: Sequence[str | Path], python: Path = PYTHON) -> None:
    """Install with pip, which an interrupted first set-up, or uv, may have left out."""
    if subprocess.run([str(python), "-c", "import pip"], check=False, stderr=subprocess.DEVNULL).returncode != 0:
        run([python, "-m", "ensurepip", "--default-pip"])
    run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments])


def uv_alone() -> Path:
    """Write uv's own entry of the lock, with its digests, as a requirements file of its own, and return its path."""
    entry = re.search(r"(?m)^uv==(?:.*\\\n)*.*$", LOCK.read_text())
    if entry is None:
        raise Refusal("requirements.lock does not pin uv: restore the file, or run `just lock`")
    path = VENV / "uv-requirement.txt"
    path.write_text(entry[0] + "\n")
    return path


def python_of(venv: Path) -> Path:
    """The interpreter of an environment."""
    return venv / PYTHON.relative_to(VENV)


def make_environment(venv: Path = VENV) -> None:
    """Make an environment with the standard library's venv."""
    if python_of(venv).exists():
        return
    print(f"dev.py: making {venv.relative_to(ROOT)}", flush=True)
    made = subprocess.run([sys.executable, "-m", "venv", str(venv)], check=False, stdout=subprocess.PIPE, text=True)
    if made.returncode != 0:
        shutil.rmtree(venv, ignore_errors=True)
        version = "%d.%d" % sys.version_info[:2]
        raise Refusal(
            f"this Python cannot make a virtual environment. On Debian or Ubuntu: apt-get install python{version}-venv; "
            f"elsewhere: install Python {version} with its venv and ensurepip modules.\n{made.stdout}"
        )


def require_python() -> None:
    """Refuse an old Python, and name a newer one when there is one."""
    if sys.version_info >= NEEDED:
        return
    names = ["python3.%d" % minor for minor in range(20, NEEDED[1] - 1, -1)]
    newer = next((name for name in names if shutil.which(name)), None)
    remedy = f"use `{newer} dev.py …`" if newer else "install one first"
    raise Refusal("needs Python %d.%d or newer, this is %d.%d: %s" % (*NEEDED, *sys.version_info[:2], remedy))


def require_browser() -> None:
    """See that Chromium is there for the browser test; install it where that is ours to do."""
    if any(shutil.which(name) for name in BROWSERS):
        return
    if apt_install("chromium", "for the browser test"):
        return
    raise Refusal(
        "the browser test needs Chromium on the PATH. On Debian or Ubuntu: sudo apt-get install chromium; "
        f"elsewhere install Chromium or Chrome so that one of {', '.join(BROWSERS)} is found."
    )


def require_postgres() -> None:
    """See that PostgreSQL's programs are there: tests start a server of their own. Install them where that is ours to do."""
    if shutil.which("initdb") or list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        return
    if apt_install("postgresql", "for the tests of more than one machine"):
        return
    raise Refusal(
        "the tests need the programs of PostgreSQL. On Debian or Ubuntu: sudo apt-get install postgresql; "
        "elsewhere install PostgreSQL so that initdb and postgres are on the PATH."
    )


def apt_install(package: str, why: str) -> bool:
    """Install a package of Debian or Ubuntu, if this is one and we may."""
    if not (shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0):
        return False
    print("dev.py: installing %s %s" % (package, why), flush=True)
    quiet = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    run(["apt-get", "update", "-q"], env=quiet)
    run(["apt-get", "install", "-q", "-y", "--no-install-recommends", package], env=quiet)
    return True


def inputs_digest() -> str:
    """A digest of what the environment is made from; when it differs, everything is installed again."""
    parts = [LOCK.read_bytes(), str(sys.version_info[:2]).encode(), str(ROOT).encode()]
    for path in (ROOT / "pyproject.toml", ROOT / "sdk" / "pyproject.toml"):
        # The tools' settings need no new installation.
        parts.append(re.split(r"(?m)^\[tool\.ruff\]", path.read_text())[0].encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def run(command: Sequence[str | Path], env: dict[str, str] | None = None) -> None:
    """Run a command in the project's folder; raise when it fails."""
    subprocess.run([str(part) for part in command], cwd=ROOT, env=env, check=True)


def become(command: list[str]) -> NoReturn:
    """Replace this process by `command`, so that signals and the exit code are its own."""
    sys.stdout.flush()
    os.chdir(ROOT)
    if os.name == "nt":
        raise SystemExit(subprocess.run(command, check=False).returncode)
    os.execv(command[0], command)


if __name__ == "__main__":
    try:
        raise SystemExit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
