"""Events in Parquet files that were exported."""

from collections.abc import Iterator
from pathlib import Path

import duckdb

from andoncord.kernel.errors import CallerError
from andoncord.telemetry.block import events_of
from andoncord.telemetry.event import Event

EVENTS_AT_ONCE = 512


def events_in(path: Path) -> Iterator[list[Event]]:
    """The events of an exported file, some at a time.

    Raises:
        CallerError: it is not one.
    """
    connection = duckdb.connect(":memory:")
    try:
        rows = connection.execute("SELECT json FROM read_parquet(?)", [str(path)])
        while page := rows.fetchmany(EVENTS_AT_ONCE):
            yield events_of([json for (json,) in page])
    except (duckdb.Error, ValueError) as error:
        raise CallerError(f"is not a file of exported events: {str(error).splitlines()[0]}", place=str(path)) from None
    finally:
        connection.close()
