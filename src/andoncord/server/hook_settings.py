"""Settings of hooks: commands of the operator's that playbooks may call by name."""

from typing import Annotated

import msgspec


class HookSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One hook of section `hooks` of `andon.yaml`. The key it stands under is its name."""

    run: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    """The program and its arguments, as a list: no shell reads it, and nothing is put into it."""
    at_most_s: Annotated[float, msgspec.Meta(gt=0, le=3_600)] = 10.0
    """Seconds after which it is ended, with everything that it started."""
    output_kib: Annotated[int, msgspec.Meta(ge=1, le=1_024)] = 16
    """Kept of each of its two outputs, KiB."""
    repeatable: bool = False
    """Running it twice with the same `key` does what running it once does. Only such a hook is run again after a crash."""
