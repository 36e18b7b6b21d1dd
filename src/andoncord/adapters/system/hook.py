"""Running a hook: a command named in the settings. What it is told comes by standard input, never as an argument.

Nothing that a telemetry record says can become a command, an argument or a variable of its environment.
"""

import asyncio
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass

KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "TMPDIR")
"""What a hook inherits: none of our secrets, which are in other variables."""
READ_BYTES = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class HookAnswer:
    """What came of it. `exit_code` is None when it was ended by us or did not start; `why` says so then."""

    exit_code: int | None
    stdout: bytes
    stderr: bytes
    is_cut: bool
    """It said more than was kept."""
    why: str = ""

    @property
    def is_done(self) -> bool:
        """It ended by itself and well."""
        return self.exit_code == 0


async def run_hook(argv: Sequence[str], value: bytes, *, timeout_s: float, output_bytes: int) -> HookAnswer:
    """Run a command with `value` on its standard input.

    Args:
        argv: the program and its arguments; no shell reads them.
        timeout_s: then it is ended, with everything that it started.
        output_bytes: kept of each of its two outputs; the rest is read and dropped.
    """
    environment = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
    try:
        child = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return HookAnswer(exit_code=None, stdout=b"", stderr=b"", is_cut=False, why=f"did not start: {error}")
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    out, err = _Kept(output_bytes), _Kept(output_bytes)
    why = ""
    try:
        async with asyncio.timeout(timeout_s):
            await asyncio.gather(_tell(child.stdin, value), out.read(child.stdout), err.read(child.stderr))
            await child.wait()
    except TimeoutError:
        why = f"did not end within {timeout_s:g} s"
    finally:
        _end_group(child.pid)
        await child.wait()
    return HookAnswer(
        exit_code=None if why else child.returncode,
        stdout=bytes(out.kept),
        stderr=bytes(err.kept),
        is_cut=out.is_cut or err.is_cut,
        why=why,
    )


class _Kept:
    """The beginning of a stream."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.kept = bytearray()
        self.is_cut = False

    async def read(self, stream: asyncio.StreamReader) -> None:
        """Read to the end; what does not fit is dropped."""
        while chunk := await stream.read(READ_BYTES):
            room = self._limit - len(self.kept)
            self.kept += chunk[:room]
            self.is_cut = self.is_cut or len(chunk) > room


async def _tell(stdin: asyncio.StreamWriter, value: bytes) -> None:
    """Write the value and close. A hook that does not read is no error."""
    try:
        stdin.write(value)
        await stdin.drain()
        stdin.close()
        await stdin.wait_closed()
    except (BrokenPipeError, ConnectionResetError):
        pass


def _end_group(pid: int) -> None:
    """End whatever is left of the hook and what it started."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
