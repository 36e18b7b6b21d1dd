"""`andon export` and `andon import`: telemetry in files that this and other tools can read."""

import gzip
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event as Pause
from typing import IO, Annotated, cast

import httpx2
import msgspec
import typer

from andoncord.adapters.parquet.exchange import events_in
from andoncord.adapters.parquet.reader import ParquetTelemetryReader
from andoncord.adapters.system.environment import home_directory, token_from_environment
from andoncord.app_both import TELEMETRY_FILE
from andoncord.cli.client import telemetry_address
from andoncord.cli.exits import Exit
from andoncord.cli.output import Format, OutputOption, fail, say, show_json
from andoncord.cli.trace_files import STDIN, lines
from andoncord.kernel.errors import CallerError
from andoncord.kernel.time import SECOND_NS
from andoncord.telemetry.batch import Signal
from andoncord.telemetry.event import Event
from andoncord.telemetry.outgoing import requests_of

EVENTS_PER_LINE = 512
EVENTS_PER_READ = 20_000
"""A segment is sorted by agent: each look for the next events in the order of storing goes through the whole of it."""
TRIES = 60
"""How often a request is sent that the server has no room for just now, a second apart: a minute, then the import ends."""
TIMEOUT_S = 30.0
LATEST_NS = 2**63 - 1
BUSY = (429, 503)


class Sent(msgspec.Struct, kw_only=True):
    """What became of an import."""

    requests: int = 0
    rejected: int = 0
    """Records in them that were not taken."""
    broken: int = 0
    """Lines that were no request."""


def export(
    file: Annotated[
        str, typer.Argument(help="Where to: *.jsonl, *.jsonl.gz, *.parquet, or - for OTLP/JSON lines on standard output.")
    ],
    agent: Annotated[list[str] | None, typer.Option(help="Only this agent; may be given several times.")] = None,
    since: Annotated[str, typer.Option(help="Only what was over at or after this time, as 2026-01-31T09:00:00Z.")] = "",
    until: Annotated[str, typer.Option(help="Only what was over at or before this time.")] = "",
    home: Annotated[
        Path | None, typer.Option(help="Data directory. Default: $ANDON_HOME, else the user's state folder.")
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Write stored telemetry to a file: OTLP/JSON, one export request a line, or Parquet. The server may run meanwhile."""
    path = (home or home_directory()) / TELEMETRY_FILE
    if not path.is_file():
        raise fail(f"there is no telemetry in {path.parent}", Exit.NOT_FOUND)
    since_ns, until_ns = _instant(since, "--since", 0), _instant(until, "--until", LATEST_NS)
    reader = ParquetTelemetryReader(path)
    try:
        if file.endswith(".parquet"):
            count = reader.export(Path(file), agents=agent or (), since_ns=since_ns, until_ns=until_ns)
        else:
            count = _export_lines(reader, file, agents=frozenset(agent or ()), since_ns=since_ns, until_ns=until_ns)
    except CallerError as error:
        raise fail(str(error), Exit.ERROR) from None
    except OSError as error:
        raise fail(f"{file}: {error.strerror}", Exit.ERROR) from None
    finally:
        reader.close()
    if output is Format.JSON and file != STDIN:
        show_json({"file": file, "events": count})
    else:
        say(f"{count} events in {'standard output' if file == STDIN else file}")


def import_(
    files: Annotated[
        list[str], typer.Argument(help="Files of OTLP/JSON lines (*.gz too) or exported Parquet; - for standard input.")
    ],
    to: Annotated[
        str, typer.Option(help="Address of a server's telemetry port. Default: the server of this data directory.")
    ] = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Send recorded telemetry to a running server, which takes it like any other: masked, counted, and nothing stored twice.

    With a token of scope agent in $ANDON_TOKEN what its agents did counts as trusted. Exits with 1 if something was not taken.
    """
    sent = Sent()
    url = to.rstrip("/") or telemetry_address()
    token = token_from_environment()
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    with httpx2.Client(base_url=url, headers=headers, timeout=TIMEOUT_S, trust_env=False) as client:
        for file in files:
            try:
                for signal, body in _requests(file, sent):
                    _send(client, signal, body, sent)
            except (CallerError, OSError) as error:
                raise fail(str(error), Exit.ERROR) from None
            except httpx2.TransportError as error:
                raise fail(f"{url} does not answer: {error}", Exit.ERROR) from None
    if output is Format.JSON:
        show_json(sent)
    else:
        say(f"{sent.requests} requests taken, {sent.rejected} records in them rejected, {sent.broken} lines could not be read")
    if sent.rejected or sent.broken:
        raise typer.Exit(Exit.ERROR)


def _export_lines(reader: ParquetTelemetryReader, file: str, *, agents: frozenset[str], since_ns: int, until_ns: int) -> int:
    count = place = 0
    waiting: list[Event] = []

    def write(target: IO[bytes]) -> None:
        for start in range(0, len(waiting), EVENTS_PER_LINE):
            for _, body in requests_of(waiting[start : start + EVENTS_PER_LINE]):
                target.write(body + b"\n")
        waiting.clear()

    with _target(file) as target:
        while page := reader.tail(after=place, limit=EVENTS_PER_READ):
            place = page[-1][0]
            fit = [event for _, event in page if since_ns <= event.at_ns <= until_ns and (not agents or event.agent in agents)]
            count += len(fit)
            waiting += fit
            if len(waiting) >= EVENTS_PER_LINE:
                write(target)
        write(target)
    return count


@contextmanager
def _target(file: str) -> Iterator[IO[bytes]]:
    """Where to write. A file appears when it is whole."""
    if file == STDIN:
        yield sys.stdout.buffer
        return
    partial = Path(f"{file}.partial")
    with partial.open("wb") as raw:
        if file.endswith(".gz"):
            with gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as packed:
                yield cast("IO[bytes]", packed)
        else:
            yield raw
    partial.replace(file)


def _requests(file: str, sent: Sent) -> Iterator[tuple[Signal, bytes]]:
    if file.endswith(".parquet"):
        for events in events_in(Path(file)):
            yield from requests_of(events)
        return
    for line in lines(file):
        signal = Signal.LOGS if b'"resourceLogs"' in line.body[:4096] else Signal.TRACES
        if line.problem:
            sent.broken += 1
            say(f"{line.place}: {line.problem}")
        else:
            yield signal, line.body


def _send(client: httpx2.Client, signal: Signal, body: bytes, sent: Sent) -> None:
    """Send one request, again while the server has no room.

    Raises:
        CallerError: it is refused for another reason than its content, or there is no room for a minute.
    """
    pause = Pause()
    for _ in range(TRIES):
        answer = client.post(f"/v1/{signal}", content=body)
        if answer.status_code not in BUSY:
            break
        pause.wait(float(answer.headers.get("Retry-After", "1")))
    if answer.status_code == 400:
        sent.broken += 1
        say(f"not taken: {answer.text[:300]}")
        return
    if answer.status_code != 200:
        remedy = "unset ANDON_TOKEN, or use a token of scope ingest" if answer.status_code in (401, 403) else ""
        raise CallerError(f"the server refused: {answer.status_code} {answer.text[:300]}", remedy=remedy)
    sent.requests += 1
    partial = answer.json().get("partialSuccess", {}) if answer.content else {}
    sent.rejected += int(partial.get("rejectedSpans", 0)) + int(partial.get("rejectedLogRecords", 0))


def _instant(text: str, option: str, default: int) -> int:
    if not text:
        return default
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise fail(f"{option}: {text!r} is not a time, such as 2026-01-31T09:00:00Z", Exit.USAGE) from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * SECOND_NS)
