"""Settings of whoever else has something to say: other systems that send signed events or alerts."""

from typing import Annotated, Literal

import msgspec

from andoncord.kernel.vocabulary import Category, Pattern


class SourceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of `sources` in `andon.yaml`. The key it stands under is its name in the address."""

    kind: Literal["webhook", "alertmanager"]
    secret_file: Annotated[str, msgspec.Meta(min_length=1)]
    """Holds the secret, relative to the settings file: `whsec_…` for webhooks, the bearer token for Alertmanager."""
    agents: Annotated[str, msgspec.Meta(min_length=1)] = "*"
    """Agents it may speak about, as a glob."""
    agent_label: str = "agent"
    """The label of an alert that names the agent."""
    category: Category = Category.RESOURCE_EXHAUSTION
    pattern: Pattern = Pattern.TOOL_FAILURE_STREAK
    """What a finding from here is, where the event or the alert's labels do not say."""
