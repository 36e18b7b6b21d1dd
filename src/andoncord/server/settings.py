"""Settings of the server's doors."""

from typing import Annotated

import msgspec

Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]

LOOPBACK_HOSTS = frozenset(("127.0.0.1", "localhost", "::1"))


class TelemetrySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Section `telemetry` of `andon.yaml`: how long what was seen is kept. Evidence of incidents stays until their review."""

    keep_days: Annotated[float, msgspec.Meta(ge=1)] = 30.0
    """How long events are kept, days."""
    keep_gib: Annotated[float, msgspec.Meta(ge=0.1)] = 50.0
    """How much room segments may take, GiB; beyond that the oldest go."""
    keep_log_hours: Annotated[float, msgspec.Meta(ge=1)] = 24.0
    """How long the raw, masked requests are kept after they were read out, hours."""


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Section `server` of `andon.yaml`."""

    bind: str = "127.0.0.1"
    """Address every port listens on. Anything but loopback needs `require_token: true` and a token of scope admin."""
    api_port: Port = 8420
    """HTTP API and console; 0 lets the system choose."""
    otlp_port: Port = 4318
    """OTLP/HTTP; 0 lets the system choose."""
    grpc_port: Port = 4317
    """OTLP/gRPC; 0 lets the system choose."""
    require_token: bool = False
    """Refuse telemetry without a token. Without this it is accepted from loopback, and never acted on."""
    allowed_hosts: tuple[str, ...] = ()
    """Names by which the server may be asked besides the loopback ones, without a port."""
    max_body_mib: Annotated[int, msgspec.Meta(ge=1, le=1_024)] = 32
    """Largest telemetry request after decompression, MiB."""
    max_backlog: Annotated[int, msgspec.Meta(ge=1)] = 1_024
    """Accepted but unread batches above which senders are told to come back later."""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.bind in LOOPBACK_HOSTS

    @property
    def hosts(self) -> frozenset[str]:
        """Every name by which the server may be asked."""
        return LOOPBACK_HOSTS | {name.lower() for name in self.allowed_hosts} | ({self.bind} if not self.is_loopback else set())
