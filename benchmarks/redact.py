"""Masking texts before they are stored: all patterns at once, beside one pattern after the other."""

import time

import re2

from andoncord.telemetry.redact import Redactor, default_redactor
from benchmarks.load import Load
from benchmarks.result import Result

REQUESTS = 30
NAIVE = 4
KB = 1000


def run(requests: int = REQUESTS) -> Result:
    """Mask requests with content, of which one run in eight is about a person; lean ones; and the same with a plain loop."""
    start_ns = 1_767_603_600_000_000_000
    content = list(Load(has_content=True).requests(requests, start_ns=start_ns))
    lean = list(Load(has_content=False).requests(requests, start_ns=start_ns))
    redactor = default_redactor()
    masked = sum(redactor.protobuf(body, "traces")[1] for body in content[:NAIVE])
    assert masked > 0
    texts = [body.decode("utf-8", "replace") for body in content[:NAIVE]]
    return Result(
        figures={"content_us_per_kb": us_per_kb(redactor, content), "lean_us_per_kb": us_per_kb(redactor, lean)},
        baselines={"loop_us_per_kb": loop_us_per_kb(redactor, texts)},
        notes=(
            f"{requests} requests of {len(content[0]) // KB} kB with content and {len(lean[0]) // KB} kB lean, in protobuf;",
            f"{masked // NAIVE} places are masked in each with content.",
            f"The loop substitutes {len(redactor.patterns)} patterns one after the other in the body taken as text,",
            "with the same engine. It would corrupt the message, and finds less: it knows no attribute names and no checks.",
        ),
    )


def us_per_kb(redactor: Redactor, bodies: list[bytes]) -> float:
    """Microseconds of CPU per kilobyte of body."""
    began = time.process_time()
    for body in bodies:
        redactor.protobuf(body, "traces")
    return (time.process_time() - began) * 1e6 / (sum(map(len, bodies)) / KB)


def loop_us_per_kb(redactor: Redactor, texts: list[str]) -> float:
    """The same for one substitution after the other."""
    compiled = [re2.compile(pattern) for pattern in redactor.patterns]
    began = time.process_time()
    for text in texts:
        for pattern in compiled:
            text = pattern.sub("[redacted]", text)  # noqa: PLW2901 - that is the loop
    return (time.process_time() - began) * 1e6 / (sum(len(text.encode()) for text in texts) / KB)
