"""The server's figures about itself, as Prometheus reads them. Counts alone: no name of an agent, no text of anybody."""

from collections import Counter
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily

from andoncord.engine.audit import Fault
from andoncord.kernel.effect import Outcome
from andoncord.kernel.time import SECOND_NS, seconds_between
from andoncord.kernel.vocabulary import IncidentState, Severity
from andoncord.server.figures import QUANTILES, nearest_rank
from andoncord.server.health import CANARY, Health, fence_times_ms
from andoncord.server.leases import LeaseOffice
from andoncord.server.reconcile import Reconciliation

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
NOTICES = frozenset(("notify", "page", "ticket", "notice", "hook"))
"""Kinds of effects that are to reach somebody or something outside."""
INCIDENTS_READ = 1_000
"""The latest incidents that detection latency is read from."""


def render(health: Health, leases: LeaseOffice, *, store: Reconciliation, version: str) -> bytes:
    """The figures now. `store` was read before, which is not done on the event loop."""
    registry = CollectorRegistry()
    registry.register(_Figures(health, leases, store, version))
    return generate_latest(registry)


class _Figures:
    def __init__(self, health: Health, leases: LeaseOffice, store: Reconciliation, version: str) -> None:
        self._health, self._leases, self._store, self._version = health, leases, store, version

    def collect(self) -> Iterator[Metric]:
        yield from self._ingest()
        yield from self._worker()
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
        for line in self._store.lines:
            records.add_metric((line.signal.value, line.outcome, line.reason), line.count)
        yield records
        lag, storage = self._store.lag, self._store.storage
        yield _gauge("andoncord_ingest_lag_batches", "Telemetry batches that are accepted and not yet read out.", lag)
        text = "1 while every accepted record is accounted for, and everything stored is there."
        yield _gauge("andoncord_loss_ledger_balanced", text, self._store.balanced)
        yield _gauge("andoncord_events_kept", "Events in the store.", storage.events)
        room = GaugeMetricFamily("andoncord_store_bytes", "Room that telemetry takes on disk.", labels=("of",))
        room.add_metric(("segments",), storage.segment_bytes)
        room.add_metric(("database",), storage.database_bytes)
        yield room

    def _worker(self) -> Iterator[Metric]:
        figures = self._health.figures()
        if figures is None:
            return
        took = GaugeMetricFamily(
            "andoncord_batch_detection_seconds_quantile",
            "From the receipt of a batch to the end of its detection, the latest groups. Nearest rank.",
            labels=("quantile",),
        )
        for quantile, took_ms in figures.detection_ms.items():
            took.add_metric((quantile,), took_ms / 1_000)
        yield took
        alarms = figures.alarms
        text = "False alarms that the statistical detectors may have raised at most, by their budget."
        yield CounterMetricFamily("andoncord_false_alarms_expected", text, value=alarms.expected)
        text = "Alarms that the statistical detectors raised, true and false."
        yield CounterMetricFamily("andoncord_statistical_alarms", text, value=alarms.observed)
        yield _gauge("andoncord_alarm_budget_streams", "Streams that share the budget of false alarms.", alarms.streams)
        yield _gauge("andoncord_rules_at_fault", "Rules that stumbled over an event.", figures.rules_at_fault)

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
        held, handed = len(state.desk.still_held()), len(state.desk.waiting())
        yield _gauge("andoncord_side_effects_held", "Side effects that wait for a person's word.", held)
        yield _gauge("andoncord_handover_open", "Work that was handed over and nobody is done with.", handed)
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
        for quantile in QUANTILES:
            if values:
                gauges.add_metric((*label, str(quantile)), nearest_rank(values, quantile))
    yield summary
    yield gauges
