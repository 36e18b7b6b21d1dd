"""What the wiring of the control process and that of the ingest worker share."""

import gc
from pathlib import Path

import msgspec

from andoncord import config as configuration
from andoncord.config import Config
from andoncord.detect.bank import Bank
from andoncord.detect.pack import default_rules
from andoncord.detect.rule import load_rules
from andoncord.telemetry import prices
from andoncord.telemetry.prices import Price

TELEMETRY_FILE = "telemetry.db"
CONTROL_FILE = "control.db"
NODE_FILE = "node.id"
GC_THRESHOLD, GC_THRESHOLD_OLDER = 50_000, 50
"""Objects that a process makes between two searches for circles; Python's own are 700 and 10."""


class WorkerSetup(msgspec.Struct, frozen=True, kw_only=True):
    """What the parent tells the worker at its start."""

    home: str
    beside: str
    """The folder that files named in the settings are relative to."""
    config: Config
    grpc_target: str
    """Where to listen for OTLP/gRPC: a port that the parent holds."""


def load_detectors(config: Config, *, beside: Path) -> Bank:
    """Every detector, for the agents that are declared.

    Raises:
        CallerError: a rule file is wrong.
    """
    own = load_rules(configuration.texts(config.rules, beside=beside)) if config.rules else ()
    return Bank(
        (*default_rules(), *own),
        declared=config.declared(),
        false_alarms_per_week=config.detection.false_alarms_per_week,
    )


def load_prices(config: Config, *, beside: Path) -> tuple[Price, ...]:
    """Every price: those of the settings, then of the files that they name, then the built-in ones.

    Raises:
        CallerError: a file is wrong.
    """
    filed = [
        price
        for place, text in configuration.texts(config.price_files, beside=beside).items()
        for price in prices.load(text, place=place)
    ]
    return prices.with_own(prices.instead_of(config.prices, filed))


def look_for_circles_seldom() -> None:
    """Call at the end of the start. What was made so far stays; what comes lives briefly and holds hardly any circles.

    A search goes through every object there is, which stops the process for a tenth of a second: longer than an order may take.
    """
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, GC_THRESHOLD_OLDER, GC_THRESHOLD_OLDER)
