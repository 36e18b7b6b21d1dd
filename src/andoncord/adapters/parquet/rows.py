"""Rows of the SQLite tables as records."""

import sqlite3

import msgspec

from andoncord.telemetry.batch import Batch, Beat, Encoding, Signal

LOG_COLUMNS = "seq, received_ns, signal, encoding, trusted_agents, body_gz, sha256"


def batch_of(row: tuple[int, int, str, str, str, bytes, str]) -> Batch:
    """A row of the ingest log."""
    seq, received_ns, signal, encoding, trusted_agents, body_gz, sha256 = row
    return Batch(
        seq=seq,
        received_ns=received_ns,
        signal=Signal(signal),
        encoding=Encoding(encoding),
        trusted_agents=msgspec.json.decode(trusted_agents, type=tuple[str, ...]),
        body_gz=body_gz,
        sha256=sha256,
    )


def beats_of(connection: sqlite3.Connection) -> tuple[Beat, ...]:
    """The last sign of life of every process."""
    rows = connection.execute("SELECT json FROM beats ORDER BY agent, instance").fetchall()
    return tuple(msgspec.json.decode(row[0], type=Beat) for row in rows)


def fleet_of(connection: sqlite3.Connection) -> tuple[tuple[str, bytes], ...]:
    """What is kept about every agent."""
    return tuple(connection.execute("SELECT agent, json FROM fleet ORDER BY agent").fetchall())
