"""Many guards in few processes: each speaks the guards' wire to a real server, on connections of its own, and does no more.

A guard of the SDK has threads; a thousand of them would measure this machine's scheduler. What is here registers, follows its
stream of orders, acknowledges, and renews its lease, byte for byte as a guard does. Run as a module it is one such process.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

RENEW_S = 1.5


class WireGuard:
    """One guard: a connection for its stream, one for acknowledgements, one for leases.

    Args:
        url: the server's API.
        came: told the order and the time at which this guard had it in force.
    """

    def __init__(self, url: str, token: str, *, agent: str, instance: str, came: Any) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._host, self._port = parts.hostname, parts.port
        self._token = token
        self._agent, self._instance = agent, instance
        self._came = came
        self._guard_id = ""
        self._steps = 0

    async def follow(self, up: asyncio.Semaphore) -> None:
        """Register, and follow orders until cancelled."""
        async with up:
            acks = await self._open()
            hello = {"agent": self._agent, "instance": self._instance, "capabilities": ["lease"], "nonce": "n0"}
            self._guard_id = (await self._post(acks, "/api/v1/guards", hello))["guard_id"]
            reader, writer = await self._open()
            writer.write(self._head("GET", f"/api/v1/guards/{self._guard_id}/orders", b"Accept: text/event-stream\r\n"))
            await reader.readuntil(b"\r\n\r\n")
        renewing = asyncio.create_task(self._renew())
        try:
            event = ""
            while line := await reader.readline():
                if line.startswith(b"event: "):
                    event = line[7:].decode().strip()
                elif line.startswith(b"data: ") and event == "order":
                    await self._obey(acks, json.loads(line[6:]))
        finally:
            renewing.cancel()

    async def _obey(self, acks: Any, order: dict[str, Any]) -> None:
        in_force_ns = time.monotonic_ns()
        state = {"rung": order["rung"], "epoch": order["epoch"], "in_flight": [], "steps_started": self._steps}
        body = {"order_id": order["order_id"], "epoch": order["epoch"], "outcome": "enforced", "at_ns": time.time_ns()}
        await self._post(acks, f"/api/v1/guards/{self._guard_id}/acks", {**body, "state": state, "detail": {}})
        self._came(order, in_force_ns, time.monotonic_ns())

    async def _renew(self) -> None:
        connection = await self._open()
        number = 0
        while True:
            await asyncio.sleep(RENEW_S)
            number += 1
            await self._post(connection, f"/api/v1/guards/{self._guard_id}/lease", {"nonce": f"n{number}"})

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._host, self._port)

    def _head(self, method: str, path: str, more: bytes) -> bytes:
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nAuthorization: Bearer {self._token}\r\n"
        return head.encode() + more + b"\r\n"

    async def _post(self, connection: Any, path: str, body: dict[str, Any]) -> Any:
        reader, writer = connection
        text = json.dumps(body).encode()
        writer.write(self._head("POST", path, b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(text)) + text)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 20"):
            raise RuntimeError(f"POST {path}: {head[:60]!r}")
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        return json.loads(await reader.readexactly(length)) if length else None


async def serve(url: str, token: str, agent: str, first: int, count: int) -> None:
    """`count` guards of `agent`; each order is told on standard output once all of them have it and have acknowledged it."""
    told: dict[str, list[tuple[int, int]]] = {}

    def came(order: dict[str, Any], in_force_ns: int, acknowledged_ns: int) -> None:
        times = told.setdefault(order["order_id"], [])
        times.append((in_force_ns, acknowledged_ns))
        if len(times) == count:
            print(json.dumps({"order": order["order_id"], "rung": order["rung"], "times": times}), flush=True)

    up = asyncio.Semaphore(8)
    guards = [WireGuard(url, token, agent=agent, instance=f"i{first + number}", came=came) for number in range(count)]
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    following = [asyncio.create_task(guard.follow(up)) for guard in guards]
    done, _ = await asyncio.wait({asyncio.ensure_future(ended), *following}, return_when=asyncio.FIRST_COMPLETED)
    for each in done:
        if each in following:
            each.result()
    for each in following:
        each.cancel()


@contextlib.contextmanager
def wire_guards(url: str, token: str, *, agent: str, guards: int, processes: int) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Processes of guards; every one of them has acknowledged what was in force when the block begins."""
    children: list[subprocess.Popen[bytes]] = []
    each, more = divmod(guards, processes)
    first = 0
    try:
        for place in range(processes):
            count = each + (place < more)
            command = [sys.executable, "-m", "benchmarks.fleet", url, token, agent, str(first), str(count)]
            children.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            first += count
        for child in children:
            told_by(child)
        yield children
    finally:
        for child in children:
            child.kill()
            child.communicate()


def told_by(child: "subprocess.Popen[bytes]") -> dict[str, Any]:
    """The next order that all guards of a process have: when each had it in force, and its acknowledgement delivered."""
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise RuntimeError(f"a process of guards ended with {child.wait()}")
    told: dict[str, Any] = json.loads(line)
    return told


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
