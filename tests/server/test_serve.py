"""The whole server as real processes: who may come in, what comes out, and how it ends."""

import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import zstandard
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from andoncord.adapters.system.server_process import ServerFailedError, ServerProcess, launch

if TYPE_CHECKING:
    from tests.server.conftest import Person
else:
    Person = Any

JSON_TYPE = "application/json"
PROTOBUF_TYPE = "application/x-protobuf"


def until(holds: Callable[[], Any], *, deadline_s: float = 10.0) -> bool:
    """Look every 50 ms until something holds."""
    pause = threading.Event()
    for _ in range(int(deadline_s / 0.05)):
        if holds():
            return True
        pause.wait(0.05)
    return False


def one_span(trace_id: str = "ab" * 16) -> dict[str, Any]:
    """An OTLP/JSON request with one span."""
    span = {"traceId": trace_id, "spanId": "cd" * 8, "name": "s", "startTimeUnixNano": "1767603600000000000"}
    return {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}


def children_of(pid: int) -> list[int]:
    """Processes that this process started."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in text.split()]


def is_running(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


# Telemetry.


def test_a_stock_exporter_in_and_its_spans_out_by_trace(server: ServerProcess, person: Person) -> None:
    """What the OpenTelemetry SDK exports comes back whole, by its trace id."""
    provider = TracerProvider(resource=Resource({"service.name": "shop", "gen_ai.agent.name": "refund-bot"}))
    exporter = OTLPSpanExporter(
        endpoint=f"{server.otlp_url}/v1/traces", headers={"Authorization": f"Bearer {person.agent_token()}"}
    )
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "orders.lookup"}
    with (
        tracer.start_as_current_span("invoke_agent refund-bot") as root,
        tracer.start_as_current_span("execute_tool orders.lookup", attributes=attributes),
    ):
        pass
    provider.shutdown()
    trace_id = format(root.get_span_context().trace_id, "032x")

    assert until(lambda: person.http.get(f"/api/v1/traces/{trace_id}").status_code == 200)
    spans = person.get(f"/api/v1/traces/{trace_id}")["spans"]
    tool = next(span for span in spans if span["kind"] == "tool.completed")
    assert len(spans) == 2
    assert (tool["agent"], tool["name"], tool["system"]) == ("refund-bot", "orders.lookup", "shop")
    assert tool["parent_span_id"] == format(root.get_span_context().span_id, "016x")
    assert tool["trusted"]


def test_telemetry_without_a_token_is_taken_and_not_trusted(server: ServerProcess, person: Person) -> None:
    """On loopback signals come in without a token; nothing rests on them."""
    answer = httpx2.post(f"{server.otlp_url}/v1/traces", json=one_span("aa" * 16))

    assert (answer.status_code, answer.json()) == (200, {})
    assert until(lambda: person.http.get(f"/api/v1/traces/{'aa' * 16}").status_code == 200)
    assert not any(span["trusted"] for span in person.get(f"/api/v1/traces/{'aa' * 16}")["spans"])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": "Bearer andon_sdk_unknown"}, 401),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example"}, 421),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Encoding": "br"}, 415),
        ({"Content-Encoding": "gzip"}, 400),
    ],
)
def test_what_telemetry_refuses(server: ServerProcess, headers: dict[str, str], status: int) -> None:
    """Strangers, pages and unreadable bodies are refused, each with its status."""
    content = json.dumps(one_span()).encode()
    answer = httpx2.post(f"{server.otlp_url}/v1/traces", content=content, headers={"Content-Type": JSON_TYPE, **headers})

    assert answer.status_code == status


def test_a_bomb_is_refused_and_the_server_lives(server: ServerProcess) -> None:
    """A body that would be gigabytes is refused as too large."""
    spaces = b" " * 40_000_000
    for encoding, bomb in (("gzip", gzip.compress(spaces)), ("zstd", zstandard.compress(spaces))):
        headers = {"Content-Type": JSON_TYPE, "Content-Encoding": encoding}
        assert httpx2.post(f"{server.otlp_url}/v1/logs", content=bomb, headers=headers).status_code == 413
    assert httpx2.get(f"{server.otlp_url}/livez").status_code == 200


def test_broken_bodies_are_answered_in_their_own_encoding(server: ServerProcess) -> None:
    """A sender learns why in the form it speaks."""
    wrong = httpx2.post(f"{server.otlp_url}/v1/traces", content=b"{", headers={"Content-Type": JSON_TYPE})
    assert (wrong.status_code, wrong.json()["code"]) == (400, 3)

    wrong = httpx2.post(f"{server.otlp_url}/v1/traces", content=b"\xff\xff", headers={"Content-Type": PROTOBUF_TYPE})
    assert (wrong.status_code, wrong.content[:2]) == (400, b"\x08\x03")


def test_a_part_that_cannot_be_read_is_rejected_by_count(server: ServerProcess) -> None:
    """The good half of a batch is taken, and the sender is told about the other."""
    body = one_span("bb" * 16)
    body["resourceSpans"][0]["scopeSpans"][0]["spans"].append({"name": "no ids"})
    answer = httpx2.post(f"{server.otlp_url}/v1/traces", json=body).json()

    assert answer["partialSuccess"]["rejectedSpans"] == "1"
    assert "no_ids" in answer["partialSuccess"]["errorMessage"]


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("logs", {"resourceSpans": [{"scopeSpans": [{"spans": []}]}]}, 400, "send traces to /v1/traces"),
        ("traces", {"resourceLogs": []}, 400, "send logs to /v1/logs"),
        ("traces", {"resourceMetrics": []}, 400, "send metrics to /v1/metrics"),
        ("metrics", {"resourceLogs": []}, 400, "send logs to /v1/logs"),
    ],
)
def test_what_was_sent_to_the_wrong_path_is_told_the_right_one(
    server: ServerProcess, path: str, body: dict[str, Any], status: int, said: str
) -> None:
    """Nothing is accepted as something that it is not."""
    answer = httpx2.post(f"{server.otlp_url}/v1/{path}", json=body)

    assert (answer.status_code, said in answer.json()["message"]) == (status, True)


def test_secrets_are_masked_before_they_are_on_disk(server: ServerProcess, person: Person) -> None:
    """A key in a prompt is in no file of the server."""
    secret = "sk-" + "a1B2c3D4e5" * 4
    body = one_span("cc" * 16)
    span = body["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    span["attributes"] = [{"key": "gen_ai.tool.call.arguments", "value": {"stringValue": f'{{"key": "{secret}"}}'}}]
    assert httpx2.post(f"{server.otlp_url}/v1/traces", json=body).status_code == 200
    assert until(lambda: person.http.get(f"/api/v1/traces/{'cc' * 16}").status_code == 200)

    files = [path for path in server.home.rglob("*") if path.is_file()]
    assert not any(secret.encode() in path.read_bytes() for path in files)


def test_success_speaks_the_encoding_of_the_request(server: ServerProcess) -> None:
    """Protobuf in, protobuf out."""
    answer = httpx2.post(f"{server.otlp_url}/v1/traces", content=b"", headers={"Content-Type": PROTOBUF_TYPE})

    assert answer.status_code == 200
    assert answer.headers["content-type"] == PROTOBUF_TYPE
    assert ExportTraceServiceResponse.FromString(answer.content) == ExportTraceServiceResponse()


# People.


def test_the_login_link_opens_one_session(server: ServerProcess, person: Person) -> None:
    """The code works once, over POST; the cookie is out of reach of scripts and other sites."""
    code = person.post("/api/v1/login-codes", {})["code"]
    with httpx2.Client(base_url=server.api_url, trust_env=False) as browser:
        assert browser.get("/api/v1/incidents").status_code == 401
        answer = browser.post("/login", data={"code": code})
        assert answer.status_code == 303
        assert browser.get("/api/v1/incidents").status_code == 200
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert httpx2.post(f"{server.api_url}/login", data={"code": code}).status_code == 403


def test_a_session_changes_nothing_without_its_proof(server: ServerProcess, person: Person) -> None:
    """A cookie alone does not act."""
    with httpx2.Client(base_url=server.api_url, trust_env=False) as browser:
        browser.post("/login", data={"code": person.post("/api/v1/login-codes", {})["code"]})
        refused = browser.post("/api/v1/incidents", json={"agent": "refund-bot"})

    assert refused.status_code == 403
    assert refused.headers["content-type"] == "application/problem+json"


def test_the_login_code_is_in_no_log(server: ServerProcess) -> None:
    """What is printed for the person who started the server is printed there alone."""
    code = server.login_url.partition("code=")[2]

    assert code
    assert code not in server.log()
    assert not any(code.encode() in path.read_bytes() for path in server.home.rglob("*") if path.is_file())


def test_the_console_is_there(server: ServerProcess) -> None:
    """Without a session every page leads to the login."""
    answer = httpx2.get(f"{server.api_url}/")

    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login")
    assert "code" in httpx2.get(f"{server.api_url}/login").text


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Origin": "https://evil.example"}, 403), ({"Host": "evil.example"}, 421), ({"Authorization": "Bearer nonsense"}, 401)],
)
def test_what_the_api_refuses(server: ServerProcess, headers: dict[str, str], status: int) -> None:
    """Other origins, other names and unknown tokens."""
    assert httpx2.get(f"{server.api_url}/api/v1/incidents", headers=headers).status_code == status


def test_an_agents_token_reads_nothing(server: ServerProcess, person: Person) -> None:
    """A token from inside an agent opens no door for people."""
    headers = {"Authorization": f"Bearer {person.agent_token()}"}

    assert httpx2.get(f"{server.api_url}/api/v1/incidents", headers=headers).status_code == 403


def test_a_guards_token_is_bound_to_its_agents(server: ServerProcess, person: Person) -> None:
    """A guard cannot register for an agent that its token does not cover."""
    headers = {"Authorization": f"Bearer {person.agent_token('refund-*')}"}
    body = {"agent": "payroll", "instance": "i1"}

    assert httpx2.post(f"{server.api_url}/api/v1/guards", json=body, headers=headers).status_code == 403
    body["agent"] = "refund-bot"
    made = httpx2.post(f"{server.api_url}/api/v1/guards", json=body, headers=headers)
    assert (made.status_code, made.json()["rung"], made.json()["epoch"]) == (201, "none", [1, 0])


def test_errors_are_problem_documents(person: Person) -> None:
    """Every error says what, where and, where it can, what to do."""
    missing = person.http.get("/api/v1/incidents/inc_999999")
    assert (missing.status_code, missing.headers["content-type"]) == (404, "application/problem+json")

    wrong = person.http.post("/api/v1/incidents", json={"agent": "a", "sevrity": "high"})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/sevrity")

    nowhere = person.http.get("/api/v1/nowhere")
    assert (nowhere.status_code, nowhere.json()["title"]) == (404, "request refused")


def test_the_same_key_does_a_thing_once(person: Person) -> None:
    """A request that is sent again is answered again, not done again; the key holds for that request only."""
    headers = {"Idempotency-Key": "once"}
    body = {"agent": "twin", "title": "by hand"}
    first = person.http.post("/api/v1/incidents", json=body, headers=headers)
    again = person.http.post("/api/v1/incidents", json=body, headers=headers)

    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert sum("twin" in each["agents"] for each in person.get("/api/v1/incidents")["items"]) == 1
    assert person.http.post("/api/v1/incidents", json={"agent": "other"}, headers=headers).status_code == 409


def test_an_order_that_reaches_nobody_is_never_called_done(person: Person) -> None:
    """To an agent that nobody has heard of it is refused; where an incident is open, its receipt says that nobody confirmed."""
    refused = person.http.post("/api/v1/agents/nobody/orders", json={"rung": "pause", "reason": "looks odd"})
    assert refused.status_code == 404
    person.post("/api/v1/incidents", {"agent": "nobody"})
    done = person.post("/api/v1/agents/nobody/orders", {"rung": "pause", "reason": "looks odd"})
    receipt = person.eventually(done["receipt_url"], lambda found: found["outcome"])

    assert receipt["outcome"] == "partial"
    assert receipt["by"] == "person:local"
    view = person.eventually(f"/api/v1/incidents/{done['incident']}", lambda found: found["containment"])
    assert view["containment"] == "UNVERIFIED"
    assert "no enforcement point" in view["verdicts"][0]["missing"][0]


def test_the_stream_tells_of_incidents(server: ServerProcess, person: Person) -> None:
    """An open page learns that an incident changed."""
    with person.http.stream("GET", "/api/v1/stream") as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith(":")
        made = person.post("/api/v1/incidents", {"agent": "streamed"})["incident"]
        data = next(line for line in lines if line.startswith("data: "))

    assert json.loads(data.removeprefix("data: "))["id"] == made


def test_the_api_describes_itself(person: Person) -> None:
    """There is an OpenAPI document with every route of people and guards."""
    paths = person.get("/api/v1/openapi.json")["paths"]

    assert {"/api/v1/incidents/{incident}/containments", "/api/v1/guards/{guard_id}/orders", "/api/v1/tokens"} <= set(paths)


# Starting and ending.


def test_a_second_server_on_the_same_data_is_refused(server: ServerProcess) -> None:
    """Two writers of one record would be none."""
    with pytest.raises(ServerFailedError, match="another server uses"):
        launch_again(server.home)


def launch_again(home: Path, *options: str) -> None:
    """Start a server that cannot start."""
    command = [sys.executable, "-m", "andoncord.cli.main", "serve", "--home", str(home), "--announce", "json", *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 2, ended
    raise ServerFailedError(ended.stderr)


@pytest.mark.parametrize("taken_port", ["--api-port", "--otlp-port", "--grpc-port"])
def test_a_port_in_use_is_said(tmp_path: Path, taken_port: str) -> None:
    """The message names the port and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = {"--api-port": 0, "--otlp-port": 0, "--grpc-port": 0, taken_port: port}
        options = [str(each) for option in ports.items() for each in option]
        with pytest.raises(ServerFailedError, match=f"cannot listen on 127.0.0.1:{port}.*choose another port"):
            launch_again(tmp_path / "home", *options)


def test_open_doors_are_refused(tmp_path: Path) -> None:
    """Beyond loopback nothing starts without tokens."""
    with pytest.raises(ServerFailedError, match="require_token"):
        launch_again(tmp_path / "home", "--bind", "0.0.0.0", "--api-port", "0", "--otlp-port", "0", "--grpc-port", "0")

    (tmp_path / "andon.yaml").write_text("server: {require_token: true}")
    options = ["--bind", "0.0.0.0", "--api-port", "0", "--otlp-port", "0", "--grpc-port", "0"]
    options += ["--config", str(tmp_path / "andon.yaml")]
    with pytest.raises(ServerFailedError, match="nobody has a token"):
        launch_again(tmp_path / "home", *options)


def test_the_data_directory_is_private(server: ServerProcess) -> None:
    """Nobody else on the machine can read it, nor the token in it."""
    assert server.home.stat().st_mode & 0o077 == 0
    assert (server.home / "admin.token").stat().st_mode & 0o077 == 0


def test_a_dead_worker_is_started_again(tmp_path: Path) -> None:
    """Telemetry goes on after the worker was killed, and the record says that it died."""
    with launch(tmp_path / "home") as server:
        (worker,) = children_of(server.pid)
        os.kill(worker, signal.SIGKILL)

        answer = httpx2.post(f"{server.otlp_url}/v1/traces", json=one_span("dd" * 16), timeout=20)
        assert answer.status_code == 200
        headers = {"Authorization": f"Bearer {server.admin_token}"}
        journal = httpx2.get(f"{server.api_url}/api/v1/journal", headers=headers).json()["items"]
        assert [entry["body"]["what"] for entry in journal if entry["kind"] == "system.noted"] == [
            "ingest worker started again"
        ]


def test_the_worker_ends_with_its_parent(tmp_path: Path) -> None:
    """A server that is killed leaves no process behind."""
    server = launch(tmp_path / "home")
    (worker,) = children_of(server.pid)
    server.kill()

    assert until(lambda: not is_running(worker), deadline_s=5)


def test_a_launched_server_ends_with_whoever_launched_it(tmp_path: Path) -> None:
    """Whoever launched a server and is then killed with SIGKILL, as test runners are, leaves neither server nor worker."""
    program = (
        "import sys; from pathlib import Path; from andoncord.adapters.system.server_process import launch\n"
        "print(launch(Path(sys.argv[1])).pid, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "home")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as runner:
        assert runner.stdout is not None
        pid = int(runner.stdout.readline())
        (worker,) = children_of(pid)
        runner.kill()

    assert until(lambda: not is_running(pid) and not is_running(worker), deadline_s=8)


def test_it_stops_in_time_with_streams_open(tmp_path: Path) -> None:
    """An open stream does not keep the server from ending."""
    with launch(tmp_path / "home") as server:
        headers = {"Authorization": f"Bearer {server.admin_token}"}
        with httpx2.stream("GET", f"{server.api_url}/api/v1/stream", headers=headers) as stream:
            next(stream.iter_lines())
            assert server.stop(deadline_s=2.5) == 0
