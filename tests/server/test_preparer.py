"""The process that prepares requests: answers as the function does, and costs nobody but its sender when it dies."""

import asyncio
import gzip
import os
import shlex
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.server.test_pipeline import AT_NS, spans
from tests.telemetry.test_redact import KEY

from andoncord.kernel.errors import CallerError
from andoncord.server.bodies import BodyTooLargeError, UnsupportedError
from andoncord.server.prepare import BrokenJobError, Job, Setup, answer, packed_job, prepare, read_answer
from andoncord.server.preparer import NotPreparedError, Preparer
from andoncord.server.worker_process import python_command
from andoncord.telemetry.batch import Encoding, Signal, unpack_body

LIMIT = 100_000
DEADLINE_S = 30


def job(body: bytes, *, signal: Signal = Signal.TRACES, compression: str = "") -> Job:
    return Job(
        body=body,
        signal=signal,
        encoding=Encoding.JSON,
        compression=compression,
        trusted_agents=("refund-*",),
        received_ns=AT_NS,
    )


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, DEADLINE_S))


def test_the_process_answers_as_the_function() -> None:
    """Many jobs at once: each sender gets its own answer, masked, with events that are the same."""

    async def work() -> None:
        preparer = Preparer(python_command("andoncord.server.prepare"), Setup(limit=LIMIT))
        preparer.start()
        jobs = [job(gzip.compress(spans(f"{number:016x}")), compression="gzip") for number in range(1, 40)]
        answers = await asyncio.gather(*map(preparer.prepare, jobs))
        for one, said in zip(jobs, answers, strict=True):
            expected = prepare(one, limit=LIMIT)
            assert (said.batch, said.unpacked().events, said.rejected, said.seen) == (
                expected.batch,
                expected.decoded.events,
                expected.decoded.rejected,
                expected.decoded.seen,
            )
        await preparer.stop()

    run(work())


def test_a_kill_costs_the_request_at_hand_and_the_next_is_answered() -> None:
    """Whoever waited is told to come again; the process is started anew."""

    async def work() -> None:
        preparer = Preparer(python_command("andoncord.server.prepare"), Setup(limit=LIMIT))
        preparer.start()
        await preparer.prepare(job(spans("03" * 8)))
        child = preparer._child
        assert child is not None
        os.kill(child.pid, signal.SIGSTOP)
        waiting = asyncio.gather(preparer.prepare(job(spans("01" * 8))), return_exceptions=True)
        await asyncio.sleep(0)
        os.kill(child.pid, signal.SIGKILL)
        assert [type(each) for each in await waiting] == [NotPreparedError]
        again = await preparer.prepare(job(spans("02" * 8)))
        assert again.count == 1
        await preparer.stop()

    run(work())


def test_a_process_that_cannot_be_started_is_started_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A machine without room for a process for a moment does not leave the worker without one for good."""

    async def work() -> None:
        program = tmp_path / "prepare"
        preparer = Preparer((str(program),), Setup(limit=LIMIT))
        preparer.start()
        while "could not be started" not in caplog.text:  # noqa: ASYNC110 - a log has no event
            await asyncio.sleep(0)
        begun = program.with_name("begun")
        command = shlex.join(python_command("andoncord.server.prepare"))
        begun.write_text(f"#!/bin/sh\nexec {command}\n")
        begun.chmod(0o700)
        begun.replace(program)
        said = await preparer.prepare(job(spans("01" * 8)))
        assert said.count == 1
        await preparer.stop()

    run(work())


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (job(b"x" * (LIMIT + 1)), BodyTooLargeError),
        (job(b"x", compression="br"), UnsupportedError),
        (job(spans("01" * 8), signal=Signal.LOGS), CallerError),
    ],
)
def test_what_is_wrong_with_a_request_is_told_across(wrong: Job, error: type[CallerError]) -> None:
    """The same error with the same words as in place."""
    with pytest.raises(error) as here:
        prepare(wrong, limit=LIMIT)
    with pytest.raises(error) as there:
        read_answer(answer(packed_job(wrong), limit=LIMIT))

    assert (str(there.value), type(there.value)) == (str(here.value), type(here.value))


def test_a_fault_of_ours_says_where_and_does_not_quote_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not masked yet stays out of messages."""

    def broken(body: bytes, **_: Any) -> Any:
        raise ValueError(body.decode())

    monkeypatch.setattr("andoncord.server.prepare.redact_body", broken)
    with pytest.raises(BrokenJobError, match=r"ValueError in broken, line \d+ of test_preparer\.py") as told:
        read_answer(answer(packed_job(job(f'{{"a": "{KEY}"}}'.encode())), limit=LIMIT))

    assert KEY not in str(told.value)


def test_what_was_masked_is_kept_with_zstd_and_what_was_not_as_it_came() -> None:
    """A clean body is not compressed again."""
    clean, secret = gzip.compress(spans("01" * 8)), gzip.compress(spans(f"{7:016x}", agent=f"a {KEY}"))

    assert prepare(job(clean, compression="gzip"), limit=LIMIT).batch.body_gz == clean
    kept = prepare(job(secret, compression="gzip"), limit=LIMIT).batch.body_gz
    assert kept[:4] == b"\x28\xb5\x2f\xfd"
    assert KEY.encode() not in unpack_body(kept)
