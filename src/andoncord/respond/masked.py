"""What waits for a person, with secrets and personal data masked: as it is kept and shown to whoever may not decide about it.

What came is named by its own digest, from before the masking. So the masked form says by itself that it is not the whole.
"""

import json
from typing import Any

import msgspec

from andoncord.kernel.canon import canonical_json, digest, short_digest
from andoncord.respond.approval import MAX_ARGUMENTS as MAX_APPROVED
from andoncord.respond.approval import Asked
from andoncord.respond.desk import MAX_ARGUMENTS, MAX_TEXT, SideEffect, Work
from andoncord.telemetry.redact import redact_text

MAX_WORD = 300
MAX_KEY = MAX_WORD - 17
"""Of a masked key, before what tells it from other keys that are masked alike."""


def masked_effect(effect: SideEffect) -> SideEffect:
    """A side effect as it is kept."""
    changes = {"run_id": _text(effect.run_id, MAX_WORD), "arguments": _arguments(effect.arguments, MAX_ARGUMENTS)}
    return msgspec.structs.replace(effect, **changes)


def masked_action(action: Asked) -> Asked:
    """A call that needs an approval, as it is kept."""
    changes = {"run_id": _text(action.run_id, MAX_WORD), "arguments": _arguments(action.arguments, MAX_APPROVED)}
    return msgspec.structs.replace(action, **changes)


def masked_work(work: Work) -> Work:
    """Handed-over work as it is kept. The same key is masked to the same, and another one to another."""
    key = _text(work.key, MAX_WORD)
    return msgspec.structs.replace(
        work,
        key=work.key if key == work.key else f"{key[:MAX_KEY]}#{short_digest(work.key)}",
        run_id=_text(work.run_id, MAX_WORD),
        task=_text(work.task, MAX_TEXT),
        arguments=_arguments(work.arguments, MAX_ARGUMENTS),
        context=_context(work.context),
        reason=_text(work.reason, MAX_TEXT),
    )


def work_digest(work: Work) -> str:
    """Names exactly this work, with all that came along."""
    return digest(canonical_json(["andoncord work 1", msgspec.to_builtins(work)]))


def _text(text: str, most: int) -> str:
    return redact_text(text)[0][:most]


def _arguments(text: str, most: int) -> str:
    """Value by value, where an escape could hide a letter; then the text, where a name says what its value is."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _text(text, most)
    masked = _value(value)
    return _text(text if masked == value else json.dumps(masked, sort_keys=True, separators=(",", ":")), most)


def _context(context: Any) -> Any:
    masked = _value(context)
    text = json.dumps(masked)
    whole = redact_text(text)[0]
    if whole == text:
        return masked
    try:
        return json.loads(whole)
    except ValueError:  # What was masked was no text, as the number of a card is none.
        return {"masked": whole}


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return redact_text(value)[0]
    if isinstance(value, dict):
        return {redact_text(str(name))[0]: _value(inner) for name, inner in value.items()}
    return [_value(each) for each in value] if isinstance(value, list) else value
