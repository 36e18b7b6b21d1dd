"""How long from the order to end it until nothing of a process tree is left: a session of its own and a fork bomb in it."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from andoncord_sdk.proctree import become_subreaper, living_descendants, send
from andoncord_sdk.tree import Mode, ProcessTree
from benchmarks.result import Result, quantile

BOMB_PROCESSES = 200
RUNNERS = 8
"""Of them that fork all the time, each child taking its parent's place: a pid that is looked up is gone a moment later."""
RUNNER_FORKS_MAX = 20_000
LIFE_S = 20
"""Whatever else happens, every process of a tree ends itself by then."""
UP_DEADLINE_S = 15.0
END_DEADLINE_S = 5.0
KILLPG_WAIT_S = 0.3

TREE = """
import os, signal, sys
processes, runners, forks, life = map(int, sys.argv[2:])
def live():
    signal.alarm(life)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
live()
if os.fork() == 0:
    os.setsid()
    live()
    while True: signal.pause()
ready, told = os.pipe()
for number in range(processes):
    if os.fork() == 0:
        live()
        os.write(told, b"x")
        if number < runners:
            for _ in range(forks):
                if os.fork(): os._exit(0)
                live()
        while True: signal.pause()
for _ in range(processes): os.read(ready, 1)
open(sys.argv[1], "w").write("up")
while True: signal.pause()
"""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One tree, ended once."""

    processes: int
    empty_ms: float
    survivors: int


def run(*, trials: int = 30) -> Result:
    """End trees in every way there is here, each trial in a supervisor process of its own."""
    modes: list[Mode | str] = ["cgroup", "process_group"] if cgroup_missing() is None else ["process_group"]
    all_done = {mode: [trial(mode) for _ in range(trials)] for mode in modes}
    baseline = [trial("killpg") for _ in range(3)]
    best = all_done[modes[0]]
    figures = {"empty_ms_p50": quantile([each.empty_ms for each in best], 0.5)}
    figures["empty_ms_p99"] = quantile([each.empty_ms for each in best], 0.99)
    for mode, done in all_done.items():
        figures[f"{mode}_empty_ms_p99"] = quantile([each.empty_ms for each in done], 0.99)
        figures[f"{mode}_survivors_n"] = max(each.survivors for each in done)
    survivors = [each.survivors for each in baseline]
    why = cgroup_missing()
    return Result(
        figures=figures,
        baselines={"killpg_survivors_min_n": min(survivors), "killpg_survivors_max_n": max(survivors)},
        columns=("mode", "trials", "processes", "empty_ms_p50", "empty_ms_p99", "survivors"),
        rows=(
            *(
                (
                    mode,
                    len(done),
                    max(each.processes for each in done),
                    quantile([each.empty_ms for each in done], 0.5),
                    quantile([each.empty_ms for each in done], 0.99),
                    max(each.survivors for each in done),
                )
                for mode, done in all_done.items()
            ),
            ("killpg alone (baseline)", len(baseline), max(each.processes for each in baseline), "-", "-", max(survivors)),
        ),
        notes=(
            f"empty_ms_* is the mode {modes[0]}" + (f": {why}." if why else "."),
            f"A tree: the command, a child in a session of its own, and a fork bomb of {BOMB_PROCESSES} processes, of which",
            f"{RUNNERS} fork all the time. Timed: freeze, inventory, kill, and waiting until the kernel says: empty.",
            f"The p99 of {trials} trials{' is their maximum' if trials <= 100 else ''}. {os.cpu_count()} processors.",
            "Baseline: killpg(SIGKILL) on the command's group, counted is who can still run after it.",
        ),
    )


def cgroup_missing() -> str | None:
    """Why no cgroup can be made here; None when one can."""
    tree = ProcessTree(["true"], name=f"andon-bench-{os.getpid()}")
    tree.close()
    return tree.why_no_cgroup or None


def trial(mode: str) -> Trial:
    """One tree in one way, in a process of its own: it is then the only parent, and takes nothing of ours with it."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.supervise", mode], stdout=subprocess.PIPE, check=True, timeout=LIFE_S + UP_DEADLINE_S
    )
    return msgspec.json.decode(done.stdout, type=Trial)


def end_one(mode: str) -> Trial:
    """Start a tree below this process, end it, and look who is left."""
    become_subreaper()
    with tempfile.TemporaryDirectory() as folder, leftovers_ended():
        up = str(Path(folder) / "up")
        os.mkfifo(up)
        ready = os.open(up, os.O_RDONLY | os.O_NONBLOCK)
        numbers = [str(each) for each in (BOMB_PROCESSES, RUNNERS, RUNNER_FORKS_MAX, LIFE_S)]
        command = [sys.executable, "-S", "-E", "-c", TREE, up, *numbers]
        if mode == "killpg":
            child = subprocess.Popen(command, start_new_session=True)
            processes = wait_up(ready, lambda: bury(child.pid))
            began = time.perf_counter()
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            time.sleep(KILLPG_WAIT_S)
            taken_ms = (time.perf_counter() - began) * 1_000
        else:
            with contextlib.closing(
                ProcessTree(command, name=f"andon-bench-{os.getpid()}", may_use_cgroup=mode == "cgroup")
            ) as tree:
                assert tree.mode == mode, tree.why_no_cgroup
                tree.start()
                processes = wait_up(ready, tree.reap)
                began = time.perf_counter()
                ended = tree.end()
                taken_ms = (time.perf_counter() - began) * 1_000
            assert ended["process_tree_empty"], ended["remaining"]
        survivors = len(living_descendants(os.getpid()))
    return Trial(processes=processes, empty_ms=taken_ms, survivors=survivors)


def wait_up(ready: int, reap: Callable[[], object]) -> int:
    """Wait until the tree is complete, burying its dead as a supervisor does; how many processes it has."""
    deadline = time.monotonic() + UP_DEADLINE_S
    while not select.select([ready], [], [], 0.01)[0]:
        reap()
        assert time.monotonic() < deadline, "the tree did not come up"
    reap()
    return len(living_descendants(os.getpid()))


def bury(command: int) -> None:
    """Take in adopted children that have ended, and leave the command's own end to whoever waits for it."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid != command:
            os.waitpid(ended.si_pid, 0)


@contextlib.contextmanager
def leftovers_ended() -> Iterator[None]:
    """End whatever of this process's own descendants is left, and nothing else."""
    try:
        yield
    finally:
        deadline = time.monotonic() + END_DEADLINE_S
        while (left := living_descendants(os.getpid())) and time.monotonic() < deadline:
            for process in left:
                send(process, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(end_one(sys.argv[1])))
