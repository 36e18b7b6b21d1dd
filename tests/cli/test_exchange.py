"""Telemetry out to files and in from them, against a running server."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from andoncord.adapters.system.server_process import ServerProcess, launch
from andoncord.cli.main import build

AT_NS = 1_767_603_600_000_000_000


def spans(*numbers: int, agent: str) -> bytes:
    """An OTLP/JSON request with one tool call for each number."""
    call = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "orders.lookup", "gen_ai.agent.name": agent}
    items = [
        {
            "traceId": f"{number:032x}",
            "spanId": f"{number:016x}",
            "name": "execute_tool orders.lookup",
            "startTimeUnixNano": str(AT_NS),
            "endTimeUnixNano": str(AT_NS + number * 1_000_000_000),
            "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in call.items()],
        }
        for number in numbers
    ]
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": items}]}]}).encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with launch(tmp_path_factory.mktemp("home")) as running:
        for body in (spans(1, 2, agent="a"), spans(3, agent="b")):
            answer = httpx2.post(f"{running.otlp_url}/v1/traces", content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code == 200
        yield running


def andon(server: ServerProcess, *arguments: str) -> tuple[int, str]:
    """Run a command on the server's data directory; its exit code and everything it printed."""
    environment = {"ANDON_HOME": str(server.home), "ANDON_TOKEN": ""}
    result = CliRunner().invoke(build(arguments), list(arguments), env=environment)
    return result.exit_code, result.output


def ledger(server: ServerProcess) -> dict[str, int]:
    answer = httpx2.get(f"{server.api_url}/api/v1/ledger", headers={"Authorization": f"Bearer {server.admin_token}"}).json()
    assert answer["balanced"], answer["problems"]
    return {line["outcome"]: line["count"] for line in answer["items"]}


@pytest.mark.parametrize("name", ["all.jsonl", "all.jsonl.gz", "all.parquet"])
def test_what_was_exported_is_known_when_it_comes_back(server: ServerProcess, tmp_path: Path, name: str) -> None:
    """Every span of an export is a duplicate where it came from: nothing was lost or changed in its identity."""
    code, said = andon(server, "export", str(tmp_path / name))
    assert (code, said.strip()) == (0, f"3 events in {tmp_path / name}")
    before = ledger(server)
    code, said = andon(server, "import", str(tmp_path / name))

    assert (code, said.strip()) == (0, "1 requests taken, 0 records in them rejected, 0 lines could not be read")
    pages = 0
    while (after := ledger(server)).get("duplicate", 0) < before.get("duplicate", 0) + 3:
        pages += 1
        assert pages < 2_000, after
    assert after["stored"] == before["stored"] == 3


def test_an_export_can_be_narrowed(server: ServerProcess, tmp_path: Path) -> None:
    """By agent and by time; both kinds of file hold the same."""
    options = ["--agent", "a", "--since", "2026-01-05T09:00:02Z", "-o", "json"]
    for name in ("some.jsonl", "some.parquet"):
        code, said = andon(server, "export", str(tmp_path / name), *options)
        assert (code, json.loads(said)["events"]) == (0, 1)
    assert [json.loads(line)["resourceSpans"] != [] for line in (tmp_path / "some.jsonl").read_bytes().splitlines()] == [True]


def test_what_an_import_cannot_read_is_told(server: ServerProcess, tmp_path: Path) -> None:
    """A broken line is told and the rest goes on; a file of another kind and a server that is not there end it."""
    mixed = tmp_path / "mixed.jsonl.gz"
    mixed.write_bytes(gzip.compress(b"{broken\n" + spans(1, agent="a") + b"\n"))
    code, said = andon(server, "import", str(mixed))
    assert (code, "1 requests taken" in said, "1 lines could not be read" in said) == (1, True, True)

    (tmp_path / "no.parquet").write_bytes(b"PAR1")
    assert "is not a file of exported events" in andon(server, "import", str(tmp_path / "no.parquet"))[1]
    assert "does not answer" in andon(server, "import", str(mixed), "--to", "http://127.0.0.1:9")[1]
    assert andon(server, "export", str(tmp_path / "x.jsonl"), "--since", "yesterday")[0] == 2
