"""Asking an evaluator: a command, or an HTTP endpoint. Bounded in time and in what is read; its answer is data."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import httpx2

from andoncord.adapters.system.hook import run_hook

MAX_ANSWER = 64 * 1_024
"""Bytes of an answer: a verdict with a sentence."""

Ask = Callable[[bytes], Awaitable[tuple[bytes, str]]]
"""Tells an evaluator of a run; what it answered, or why it did not."""


def by_command(argv: Sequence[str], *, timeout_s: float) -> Ask:
    """An evaluator that reads a run on its standard input and writes its verdict to its standard output."""

    async def ask(told: bytes) -> tuple[bytes, str]:
        answer = await run_hook(argv, told, timeout_s=timeout_s, output_bytes=MAX_ANSWER)
        if answer.is_done and not answer.is_cut:
            return answer.stdout, ""
        last = answer.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        ended = f"ended with {answer.exit_code}" if answer.exit_code is not None else "did not end"
        return b"", answer.why or ("said more than a verdict" if answer.is_cut else f"{ended}: {last}")

    return ask


def by_url(url: str, *, token_file: Path | None, timeout_s: float) -> Ask:
    """An evaluator that is posted a run and answers with its verdict."""

    async def ask(told: bytes) -> tuple[bytes, str]:
        headers = {"Content-Type": "application/json"}
        try:
            if token_file is not None:
                headers["Authorization"] = f"Bearer {(await asyncio.to_thread(token_file.read_text)).strip()}"
            async with (
                asyncio.timeout(timeout_s),
                httpx2.AsyncClient(timeout=timeout_s, trust_env=False) as client,
                client.stream("POST", url, content=told, headers=headers) as answer,
            ):
                if not answer.is_success:
                    return b"", f"answered with {answer.status_code}"
                body = bytearray()
                async for part in answer.aiter_bytes():
                    body += part
                    if len(body) > MAX_ANSWER:
                        return b"", "said more than a verdict"
                return bytes(body), ""
        except TimeoutError:
            return b"", f"did not answer within {timeout_s:g} s"
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as away:
            return b"", f"could not be asked: {type(away).__name__}"

    return ask
