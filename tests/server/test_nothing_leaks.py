"""Nothing un-masked is in the data directory after a run with planted secrets, crashes included; and who may send what."""

import gzip
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import zstandard
from tests.server.test_pipeline import AT_NS, denied, spans
from tests.telemetry.test_redact import SECRETS

from andoncord.adapters.system.server_process import ServerProcess, launch
from benchmarks.ingest import family
from benchmarks.load import Load

if TYPE_CHECKING:
    from tests.server.conftest import Person
else:
    Person = Any

PLANTED = [*SECRETS.values(), "ann.planted@example.org"]
PROTOBUF, JSON = {"Content-Type": "application/x-protobuf"}, {"Content-Type": "application/json"}


def bodies() -> list[tuple[str, dict[str, str], bytes]]:
    """Secrets in names, texts, ids of services and broken bodies; small and large, in both encodings."""
    load = Load(has_content=True)
    large = load.request(0, AT_NS)
    said = " ".join(PLANTED)
    found: list[tuple[str, dict[str, str], bytes]] = []
    for number, secret in enumerate(PLANTED, 1):
        # The same length, so that the lengths in the message still hold.
        marker = b"chatcmpl-session-"
        assert marker in large
        found += [
            ("/v1/traces", JSON, spans(f"{number:016x}", agent=f"bot {secret}")),
            ("/v1/logs", JSON, denied("run-1").replace(b"shell.exec is not", json.dumps(secret)[1:-1].encode())),
            ("/v1/traces", JSON, f'{{"resourceSpans": [{{"oops": "{secret}"'.encode()),
            ("/v1/traces", PROTOBUF, b"\x0a\xff" + secret.encode()),
            ("/v1/logs", JSON, spans(f"{number + 100:016x}", agent=f"misdirected {secret}")),
        ]
    spread = b"".join(f"{said} {place} ".encode() for place in range(200))
    found.append(("/v1/traces", JSON, spans("ff" * 8, agent="large").replace(b"execute_tool orders.lookup", spread)))
    found.append(("/v1/traces", PROTOBUF | {"Content-Encoding": "gzip"}, gzip.compress(large)))
    return found


def send(server: ServerProcess, path: str, headers: dict[str, str], body: bytes) -> int:
    try:
        return httpx2.post(server.otlp_url + path, content=body, headers=headers, timeout=30, trust_env=False).status_code
    except httpx2.HTTPError:
        return 0


def contents(home: Path) -> dict[str, bytes]:
    """Every file, and what is packed in it: zstd frames are unpacked wherever they begin."""
    found: dict[str, bytes] = {}
    for file in home.rglob("*"):
        if not file.is_file():
            continue
        whole = file.read_bytes()
        found[str(file)] = whole
        start = whole.find(b"\x28\xb5\x2f\xfd")
        while start >= 0:
            try:
                found[f"{file}@{start}"] = zstandard.ZstdDecompressor().decompressobj().decompress(whole[start:])
            except zstandard.ZstdError:
                pass  # A frame that is spread over pages of a database: the rows are read through the API, too.
            start = whole.find(b"\x28\xb5\x2f\xfd", start + 4)
    return found


def dumps_nothing(process: int) -> bool:
    """Whether a crash of a process would leave no copy of its memory, in a file or with a handler of the system."""
    limits = Path(f"/proc/{process}/limits").read_text()
    (core,) = (line.split() for line in limits.splitlines() if line.startswith("Max core file size"))
    return core[4:6] == ["0", "0"] and int(Path(f"/proc/{process}/coredump_filter").read_text(), 16) == 0


def dumps_in(folder: Path) -> dict[str, bytes]:
    """Memory that crashed processes left in their working directory."""
    return {str(file): file.read_bytes() for file in folder.glob("core*") if file.is_file()}


def test_planted_secrets_are_nowhere(tmp_path: Path, person_at: Callable[[ServerProcess], Person]) -> None:
    """Store, ingest log, journal, server log and API, after good, broken and misdirected requests, and kills in between."""
    home = tmp_path / "home"
    with launch(home) as server:
        person = person_at(server)
        answers = [send(server, *body) for body in bodies()]
        assert answers.count(200) >= 2 * len(PLANTED) + 2
        assert 400 in answers
        # Once the process that masks, once the whole worker, with requests under way, as a fault of theirs would end them.
        for victim in (-1, 0):
            (worker, *below) = family(int(Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()[0]))
            assert all(dumps_nothing(process) for process in (server.pid, worker, *below))
            sending = threading.Thread(target=lambda: [send(server, *body) for body in bodies()[-2:]], daemon=True)
            sending.start()
            os.kill([worker, *below][victim], signal.SIGSEGV)
            sending.join(30)
        person.eventually("/api/v1/ledger", lambda ledger: ledger["lag"] == 0, deadline_s=30)
        shown = person.http.get(f"/api/v1/traces/{'ab' * 16}").text
        assert "[redacted:" in shown
        shown += person.http.get("/api/v1/journal?limit=500").text + person.http.get("/api/v1/incidents?limit=500").text
        log = server.log()
    everything = {**contents(home), **dumps_in(Path.cwd()), "API": shown.encode(), "log": log.encode()}

    assert [(place, secret) for place, content in everything.items() for secret in PLANTED if secret.encode() in content] == []


def test_who_may_send(tmp_path: Path, person_at: Callable[[ServerProcess], Person]) -> None:
    """A token of scope ingest only sends, for its agents; a person's token does not, and the attempt is on record."""
    with launch(tmp_path / "home") as server:
        person = person_at(server)
        made = person.post("/api/v1/tokens", {"name": "collector", "scope": "ingest", "agent": "refund-*"})
        ingest = {"Authorization": f"Bearer {made['token']}"}
        reader = person.post("/api/v1/tokens", {"name": "ana", "scope": "read", "agent": ""})
        wrong = {"Authorization": f"Bearer {reader['token']}"}

        assert send(server, "/v1/traces", JSON | ingest, spans("01" * 8)) == 200
        assert send(server, "/v1/traces", JSON | wrong, spans("02" * 8)) == 403
        assert f"token {reader['id']} (ana, scope read) was used to send telemetry" in server.log()
        asked = {"agent": "refund-bot", "instance": "i", "capabilities": []}
        assert httpx2.post(f"{server.api_url}/api/v1/guards", json=asked, headers=ingest, trust_env=False).status_code == 403
        assert httpx2.get(f"{server.api_url}/api/v1/incidents", headers=ingest, trust_env=False).status_code == 403
        person.eventually("/api/v1/ledger", lambda ledger: ledger["lag"] == 0)
        trace = person.get(f"/api/v1/traces/{'ab' * 16}")
    events = json.dumps(trace)

    assert '"trusted": true' in events
    assert "02" * 8 not in events
