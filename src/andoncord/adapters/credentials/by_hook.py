"""Credentials that commands of the operator's revoke and try."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from andoncord.adapters.system.hook import HookAnswer, run_hook
from andoncord.respond.credential import Said, Subject

WHY_MAX = 300
NOT_TRIED = Said(holds=None, why="the settings name no probe_hook")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One hook, as it is run."""

    argv: Sequence[str]
    timeout_s: float
    output_bytes: int


class HookBroker:
    """Revokes with one command and tries with another. Each is told the subject as JSON on its standard input."""

    def __init__(self, *, revoking: Command, probing: Command | None) -> None:
        self._revoking = revoking
        self._probing = probing

    async def revoke(self, subject: Subject) -> Said:
        """Revoked is what the command ends with 0 for."""
        answer = await _run(self._revoking, "revoke", subject)
        return Said(holds=True) if answer.is_done else Said(holds=False, why=_why(answer))

    async def probe(self, subject: Subject) -> Said:
        """Refused is what the command says; that it ended well is not enough."""
        return await probe_by(self._probing, subject)


async def probe_by(command: Command | None, subject: Subject) -> Said:
    """Try a credential with a command that says `{"refused": true}` or `{"refused": false}`."""
    if command is None:
        return NOT_TRIED
    answer = await _run(command, "probe", subject)
    if not answer.is_done:
        return Said(holds=None, why=f"the attempt showed nothing: {_why(answer)}")
    try:
        refused = msgspec.json.decode(answer.stdout)["refused"]
    except (msgspec.DecodeError, KeyError, TypeError):
        refused = None
    if not isinstance(refused, bool):
        return Said(holds=None, why='the attempt showed nothing: its hook did not say {"refused": true} or false')
    return Said(holds=refused)


async def _run(command: Command, do: str, subject: Subject) -> HookAnswer:
    told = msgspec.json.encode({"do": do, **msgspec.structs.asdict(subject)})
    return await run_hook(command.argv, told, timeout_s=command.timeout_s, output_bytes=command.output_bytes)


def _why(answer: HookAnswer) -> str:
    if answer.why:
        return f"the hook {answer.why}"
    said = answer.stderr.decode("utf-8", "replace").strip()[-WHY_MAX:]
    return f"the hook ended with {answer.exit_code}{f': {said}' if said else ''}"
