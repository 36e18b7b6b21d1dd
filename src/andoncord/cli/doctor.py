"""`andon doctor`."""

import socket
from pathlib import Path
from typing import Annotated, Any

import httpx2
import msgspec
import typer

from andoncord.adapters.system import machine
from andoncord.adapters.system.environment import (
    database_from_environment,
    home_directory,
    server_from_environment,
    token_from_environment,
)
from andoncord.adapters.system.server_process import ADDRESS_FILE, TOKEN_FILE, Announcement
from andoncord.cli.exits import Exit
from andoncord.cli.output import Format, OutputOption, cell, show_json
from andoncord.kernel.errors import CallerError

TIMEOUT_S = 10.0
SIGNS = {"ok": "ok", "warn": "WARN", "fail": "FAIL", "unknown": "?"}
DEFAULT_URL = "http://127.0.0.1:8420"


def doctor(
    home: Annotated[
        Path | None, typer.Option(help="Data directory. Default: $ANDON_HOME, else the user's state folder.")
    ] = None,
    record: Annotated[bool, typer.Option(help="Walk the journal's whole chain, as `andon verify` does.")] = True,
    output: OutputOption = Format.TABLE,
) -> None:
    """Say what is wrong with this installation, and what to do about it.

    Looks at the data directory, the record, the ports, and at everything that the running server checks of itself: its engine,
    worker, ledger, promises, kill path and heartbeat. Exits with 1 when something fails; warnings leave 0.
    """
    directory = (home or home_directory()).absolute()
    server_is_elsewhere = bool(server_from_environment()) and home is None
    checks = [] if server_is_elsewhere else _local(directory, record=record)
    checks += _server(directory)
    seen: dict[str, dict[str, Any]] = {}
    for check in checks:
        seen.setdefault(check["name"], check)
    found = list(seen.values())
    failed = any(check["verdict"] == "fail" for check in found)
    if output is Format.JSON:
        show_json({"ok": not failed, "home": str(directory), "checks": found})
    else:
        for check in found:
            typer.echo(f"{SIGNS[check['verdict']]:5} {check['name']:16} {_plain(check['text'])}")
            if check["remedy"] and check["verdict"] != "ok":
                typer.echo(f"{'':23}→ {_plain(check['remedy'])}")
        counts = {verdict: sum(check["verdict"] == verdict for check in found) for verdict in SIGNS}
        typer.echo(f"\n{counts['fail']} failed, {counts['warn']} warnings, {counts['unknown']} unknown, {counts['ok']} fine")
    if failed:
        raise typer.Exit(Exit.ERROR)


def _plain(text: str) -> str:
    """Sentences of ours, with names of agents in them made inert; not cut to the width of a table."""
    return " ".join(cell(part) for part in text.split(" ") if part)


def _check(name: str, verdict: str, text: str, remedy: str = "") -> dict[str, Any]:
    return {"name": name, "verdict": verdict, "text": text, "remedy": remedy}


def _local(directory: Path, *, record: bool) -> list[dict[str, Any]]:
    if not directory.is_dir():
        return [_check("data directory", "fail", f"{directory} does not exist", "start `andon serve`, or set ANDON_HOME")]
    openings = machine.openings(directory)
    text = "; ".join(openings) or f"{directory} is closed to everybody else"
    found = [_check("data directory", "fail" if openings else "ok", text, f"chmod 700 {directory}" if openings else "")]
    secrets = [
        name for name in (TOKEN_FILE, "lease.key", "vault.key") if (directory / name).exists() and _is_open(directory / name)
    ]
    if secrets:
        text = f"{', '.join(secrets)} can be read by others"
        found.append(_check("secrets", "fail", text, f"chmod 600 {directory}/{secrets[0]}, and revoke the token"))
    if record:
        found.append(_record(directory))
    return found


def _is_open(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o077)


def _record(directory: Path) -> dict[str, Any]:
    """The journal's chain and what it says about telemetry."""
    from andoncord.app_both import CONTROL_FILE
    from andoncord.cli.verify import check_record

    url = database_from_environment()
    if not url and not (directory / CONTROL_FILE).is_file():
        return _check("record", "unknown", f"there is no {CONTROL_FILE} in {directory}", "start `andon serve` once")
    try:
        checked = check_record(directory, url=url)
    except (CallerError, OSError) as error:
        return _check("record", "fail", f"cannot be read: {error}", "keep the folder as it is; restore from a backup beside it")
    if checked.broken:
        text = f"entry {checked.broken.seq}: {checked.broken.reason}"
        return _check("record", "fail", text, "keep the folder as it is; compare its head with one that was kept elsewhere")
    return _check("record", "ok", f"{checked.entries} entries hold, head {checked.head or 'none'}")


def _server(directory: Path) -> list[dict[str, Any]]:
    """What the running server says about itself, and whether its ports answer."""
    where = _announced(directory)
    url = server_from_environment() or (where.api_url if where else DEFAULT_URL)
    token = token_from_environment() or _token(directory)
    try:
        with httpx2.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False) as client:
            answer = client.get("/api/v1/health", headers={"Authorization": f"Bearer {token}"} if token else {})
            ready = client.get("/readyz")
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        return [_check("server", "fail", f"no answer from {url} ({error})", "start `andon serve`")]
    if answer.status_code in (401, 403):
        return [
            _check("server", "fail", f"{url} does not accept the token", "set ANDON_TOKEN, or run this where the server runs")
        ]
    if not answer.is_success:
        return [_check("server", "fail", f"{url} answered {answer.status_code}", "look at the server's log")]
    text = f"{url} answers, and is {'ready' if ready.is_success else f'not ready: {ready.text.strip()}'}"
    found = [_check("server", "ok" if ready.is_success else "fail", text, "look at the ingest worker and its lag")]
    if where and not server_from_environment():
        found += [_telemetry_port(where), _grpc_port(where)]
    return found + list(answer.json()["checks"])


def _telemetry_port(where: Announcement) -> dict[str, Any]:
    """Whether something that speaks OTLP answers: an empty request is not accepted, but it is answered."""
    try:
        answer = httpx2.post(f"{where.otlp_url}/v1/traces", content=b"", timeout=TIMEOUT_S, trust_env=False)
    except httpx2.HTTPError as error:
        return _check("telemetry port", "fail", f"no answer from {where.otlp_url} ({error})", "look at the server's log")
    return _check("telemetry port", "ok", f"{where.otlp_url} answers ({answer.status_code} to an empty request)")


def _grpc_port(where: Announcement) -> dict[str, Any]:
    """Whether somebody listens for OTLP over gRPC."""
    host, _, port = where.grpc_url.rpartition("/")[2].rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        return _check("gRPC port", "fail", f"no answer from {where.grpc_url} ({error})", "look at the server's log")
    return _check("gRPC port", "ok", f"{where.grpc_url} answers")


def _announced(directory: Path) -> Announcement | None:
    try:
        return msgspec.json.decode((directory / ADDRESS_FILE).read_bytes(), type=Announcement)
    except (OSError, msgspec.DecodeError):
        return None


def _token(directory: Path) -> str:
    try:
        return (directory / TOKEN_FILE).read_text(encoding="utf-8").strip()
    except OSError:
        return ""
