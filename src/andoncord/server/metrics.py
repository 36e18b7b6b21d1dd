"""The server's figures about itself, as Prometheus reads them. Counts alone: no name of an agent, no text of anybody."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily

from andoncord.engine.audit import Fault
from andoncord.kernel.effect import Outcome
from andoncord.kernel.time import SECOND_NS, seconds_between
from andoncord.kernel.vocabulary import IncidentState, Severity
from andoncord.server.health import CANARY, Health, fence_times_ms, unbalanced
from andoncord.server.leases import LeaseOffice
from andoncord.telemetry.batch import LedgerLine

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
NOTICES = frozenset(("notify", "page", "ticket", "notice", "hook"))
"""Kinds of effects that are to reach somebody or something outside."""
INCIDENTS_READ = 1_000
"""The latest incidents that detection latency is read from."""


def render(health: Health, leases: LeaseOffice, *, ledger: Sequence[LedgerLine], lag: int, version: str) -> bytes:
    """The figures now. `ledger` and `lag` were read from the store, which is not done on the event loop."""
    registry = CollectorRegistry()
    registry.register(_Figures(health, leases, ledger, lag, version))
    return generate_latest(registry)


class _Figures:
    def __init__(self, health: Health, leases: LeaseOffice, ledger: Sequence[LedgerLine], lag: int, version: str) -> None:
        self._health, self._leases, self._ledger, self._lag, self._version = health, leases, ledger, lag, version

    def collect(self) -> Iterator[Metric]:
        yield from self._ingest()
        yield from self._incidents()
        yield from self._controls()
        yield from self._fleet()
        yield from self._self()

    def _ingest(self) -> Iterator[Metric]:
        records = CounterMetricFamily(
            "andoncord_ingest_records",
            "Telemetry records by what became of them: accepted = stored + duplicate + rejected.",
            labels=("signal", "outcome", "reason"),
        )
        for line in self._ledger:
            records.add_metric((line.signal.value, line.outcome, line.reason), line.count)
        yield records
        yield _gauge("andoncord_ingest_lag_batches", "Telemetry batches that are accepted and not yet read out.", self._lag)
        balanced = not unbalanced(self._ledger)
        yield _gauge("andoncord_loss_ledger_balanced", "1 while every accepted record is accounted for.", balanced)

    def _incidents(self) -> Iterator[Metric]:
        state = self._health.control.state
        findings = CounterMetricFamily(
            "andoncord_findings",
            "Findings that reached the engine, by whether they opened or joined an incident.",
            labels=("into",),
        )
        findings.add_metric(("incident",), sum(len(incident.findings) for incident in state.incidents.values()))
        findings.add_metric(("shadow",), state.shadow_findings)
        yield findings
        counts = Counter((incident.state.value, incident.severity.value) for incident in state.incidents.values())
        incidents = GaugeMetricFamily(
            "andoncord_incidents", "Incidents by state of the lifecycle and severity.", labels=("state", "severity")
        )
        for each in IncidentState:
            for severity in Severity:
                incidents.add_metric((each.value, severity.value), counts[each.value, severity.value])
        yield incidents
        latest = list(state.incidents.values())[-INCIDENTS_READ:]
        took = [max(0.0, seconds_between(incident.onset_ns, incident.detected_ns)) for incident in latest]
        yield from _quantiles(
            "andoncord_detection_latency_seconds",
            f"From the onset of an incident to its first finding, the last {INCIDENTS_READ} incidents.",
            {"": took},
        )

    def _controls(self) -> Iterator[Metric]:
        state, late = self._health.control.state, self._health.overdue()
        fences = {
            "agents": fence_times_ms(state.intents, of_canaries=False),
            "canary": fence_times_ms(state.intents, of_canaries=True),
        }
        yield from _quantiles(
            "andoncord_time_to_fence_seconds",
            f"From an order to the last confirmation, orders that everybody confirmed; canaries ({CANARY}*) apart.",
            {whose: [each / 1_000 for each in took] for whose, took in fences.items()},
        )
        in_force = GaugeMetricFamily("andoncord_controls_in_force", "Orders in force by rung.", labels=("rung",))
        for rung, count in sorted(Counter(control.rung for control in state.controls.values()).items()):
            in_force.add_metric((rung,), count)
        yield in_force
        unconfirmed = sum(each.fault is Fault.CONTROL_UNCONFIRMED for each in late)
        yield _gauge(
            "andoncord_controls_unconfirmed", "Orders in force that not everybody confirmed, unproven since.", unconfirmed
        )
        overdue = GaugeMetricFamily("andoncord_overdue", "Promises that were not kept, by kind.", labels=("fault",))
        for fault in Fault:
            overdue.add_metric((fault.value,), sum(each.fault is fault for each in late))
        yield overdue
        yield _gauge("andoncord_effects_outstanding", "Effects that were decided and have no receipt.", len(state.outstanding))
        failed = sum(
            intent.receipt is not None and intent.receipt.outcome is not Outcome.DONE
            for intent in state.intents.values()
            if intent.effect.kind.value in NOTICES
        )
        yield CounterMetricFamily(
            "andoncord_deliveries_failed", "Messages and hooks that did not arrive, or in part.", value=failed
        )

    def _fleet(self) -> Iterator[Metric]:
        control = self._health.control
        agents = GaugeMetricFamily(
            "andoncord_agents", "Known agents by state; silent and unknown are not healthy.", labels=("state",)
        )
        counts = Counter(agent["state"] for agent in control.fleet())
        for state in ("running", "contained", "silent", "unknown"):
            agents.add_metric((state,), counts[state])
        yield agents
        points = GaugeMetricFamily(
            "andoncord_enforcement_points_connected", "Guards and supervisors with an open connection.", labels=("kind",)
        )
        connected = Counter(guard.registration.kind for guard in control.hub.all() if guard.is_connected)
        for kind in ("guard", "supervisor"):
            points.add_metric((kind,), connected[kind])
        yield points
        yield _gauge(
            "andoncord_leases_outstanding", "Leases that were given and may still be held.", self._leases.outstanding()
        )

    def _self(self) -> Iterator[Metric]:
        health = self._health
        up, pid = health.worker()
        yield _gauge("andoncord_worker_up", "1 while the ingest worker is up.", up)
        memory = GaugeMetricFamily(
            "andoncord_process_resident_bytes", "Memory that the server's processes hold.", labels=("process",)
        )
        for name, process in (("control", None), ("worker", pid)):
            held = health.machine.resident_bytes(process) if name == "control" or process else None
            if held is not None:
                memory.add_metric((name,), held)
        yield memory
        yield CounterMetricFamily("andoncord_journal_entries", "Entries of the journal.", value=health.control.state.seq)
        sent_ns = health.deadman.sent_ns
        if sent_ns:
            at_s = sent_ns / SECOND_NS
            yield _gauge("andoncord_heartbeat_sent_timestamp_seconds", "When the heartbeat out was last delivered.", at_s)
        silent = bool(health.deadman.is_set_up and (health.deadman.silent_because or health.deadman.failing))
        yield _gauge("andoncord_heartbeat_stopped", "1 while the heartbeat out is set up and does not go out.", silent)
        build = GaugeMetricFamily("andoncord_build_info", "The version that runs; always 1.", labels=("version",))
        build.add_metric((self._version,), 1)
        yield build


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _quantiles(name: str, text: str, taken: dict[str, Sequence[float]]) -> Iterator[Metric]:
    """Count, sum, and the quantiles as gauges; without any measurement the quantiles are left out, since unknown is not 0."""
    labels = ("of",) if "" not in taken else ()
    summary = SummaryMetricFamily(name, text, labels=labels)
    gauges = GaugeMetricFamily(f"{name}_quantile", f"{text} Nearest rank.", labels=(*labels, "quantile"))
    for whose, values in taken.items():
        label = (whose,) if labels else ()
        summary.add_metric(label, count_value=len(values), sum_value=sum(values))
        for quantile in (0.5, 0.99):
            if values:
                gauges.add_metric((*label, str(quantile)), nearest_rank(values, quantile))
    yield summary
    yield gauges


def nearest_rank(values: Iterable[float], quantile: float) -> float:
    """A value that was really measured.

    >>> nearest_rank([4.0, 1.0, 3.0, 2.0], 0.5), nearest_rank([4.0, 1.0, 3.0, 2.0], 0.99)
    (2.0, 4.0)
    """
    ranked = sorted(values)
    return ranked[max(0, -int(-len(ranked) * quantile // 1) - 1)]
