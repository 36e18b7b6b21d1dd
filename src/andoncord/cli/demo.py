"""`andon demo`: a fleet misbehaves in four ways and is seen, stopped, explained, brought back and learned from."""

import contextlib
import os
import signal
import sys
import threading
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
import typer
import yaml
from rich.console import Console

from andoncord.adapters.system.clock import SystemClock
from andoncord.adapters.system.environment import home_directory
from andoncord.adapters.system.server_process import ServerProcess, launch
from andoncord.cli.demo_telling import Telling
from andoncord.kernel.time import SECOND_NS
from andoncord.sim.client import Api
from andoncord.sim.crew import Crew
from andoncord.sim.director import Director
from andoncord.sim.fleet import declarations
from andoncord.sim.outage import OutageScene
from andoncord.sim.story import OPERATOR, Score
from andoncord.sim.surroundings import SharedFolder

STORY_DEADLINE_S = 56.0
"""The story ends here even when something is still open; it is then reported as missed."""
LINGER_S = 0.5
PLAIN_WIDTH = 120
"""Columns where there is no terminal to ask."""


def demo(
    headless: Annotated[bool, typer.Option("--headless", help="End after the story instead of serving on.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document; the telling goes to stderr.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="The seed of the simulated fleet.")] = 7,
) -> None:
    """Watch a simulated fleet of eight agents go wrong in four ways, within a minute.

    Starts the real server and real agent processes on free ports of this machine. Exits with 1 when a failure was missed or
    anything healthy was stopped.
    """
    console = Console(stderr=as_json, highlight=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    telling = Telling(console)
    signal.signal(signal.SIGTERM, _leave)
    try:
        score = _perform(telling, headless=headless, seed=seed)
    except KeyboardInterrupt:
        telling.say("stopped")
        raise typer.Exit(130) from None
    if as_json:
        sys.stdout.write(msgspec.json.encode(score).decode() + "\n")
    raise typer.Exit(0 if score.is_good else 1)


def _perform(telling: Telling, *, headless: bool, seed: int) -> Score:
    clock = SystemClock()
    started_ns = clock.monotonic_ns()
    base = home_directory() / f"demo-{os.getpid()}"
    folder = base / "folder"
    base.mkdir(parents=True, mode=0o700)
    folder.mkdir()
    config = base / "andon.yaml"
    config.write_text(yaml.safe_dump({"agents": declarations()}, sort_keys=False), encoding="utf-8")
    with contextlib.ExitStack() as running:
        server = running.enter_context(launch(base / "server", config=config))
        crew = running.enter_context(Crew(base / "logs"))
        crew.watch_over(server.pid)
        api = _operator(server.api_url, server.admin_token)
        telling.say(f"console: {server.login_url}  (valid once, for 5 minutes)")
        telling.say(f"records: {base}")
        director = Director(
            api,
            SharedFolder(folder),
            seed=seed,
            clock=clock,
            started_ns=started_ns,
            deadline_s=STORY_DEADLINE_S,
            tell=telling.tell,
        )
        director.cast(crew, server=server.api_url, telemetry=server.otlp_url, directory=folder)
        director.play()
        score = director.score()

        def restart() -> ServerProcess:
            again = launch(base / "server", config=config, api_port=api_port, otlp_port=otlp_port, grpc_port=grpc_port)
            return running.enter_context(again)

        api_port, otlp_port, grpc_port = (port_of(url) for url in (server.api_url, server.otlp_url, server.grpc_url))
        scene = OutageScene(crew=crew, folder=folder, restart=restart, clock=clock, tell=director.say)
        outage, server = scene.play(server, api)
        wall_s = round((clock.monotonic_ns() - started_ns) / SECOND_NS, 1)
        score = msgspec.structs.replace(score, control_plane_death=outage, wall_s=wall_s)
        telling.summarise(score)
        if not headless:
            _linger(director, telling, login=_fresh_login(api) or server.login_url)
        api.close()
    return score


def port_of(url: str) -> int:
    """The port in an address.

    >>> port_of("http://127.0.0.1:8420")
    8420
    """
    port = urlsplit(url).port
    assert port is not None
    return port


def _operator(url: str, admin_token: str) -> Api:
    """A client that acts, and is recorded, as the operator of the demo."""
    admin = Api(url, admin_token)
    minted = admin.post("/api/v1/tokens", {"name": OPERATOR, "scope": "admin"})
    admin.close()
    return Api(url, minted["token"])


def _fresh_login(api: Api) -> str:
    answer: dict[str, Any] = api.post("/api/v1/login-codes", {})
    return str(answer.get("url", ""))


def _linger(director: Director, telling: Telling, *, login: str) -> None:
    """Serve on until Ctrl-C, still telling what happens."""
    telling.say(f"the fleet works on; console: {login}\nCtrl-C ends everything")
    pause = threading.Event()
    try:
        while not pause.wait(LINGER_S):
            director.observe()
    except KeyboardInterrupt:
        telling.say("ending the server and the fleet")


def _leave(number: int, frame: object) -> None:
    raise KeyboardInterrupt
