"""Atheris over everything that reads a telemetry body: `python -m tests.fuzz.decoders [-max_total_time=SECONDS] [CORPUS]`.

Whatever the bytes, nothing raises, masking keeps a message a message, and what was seen is what came of it.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["andoncord.telemetry", "andoncord.server.bodies", "andoncord.server.prepare"]):
    from andoncord.kernel.errors import CallerError
    from andoncord.server.prepare import Job, prepare
    from andoncord.telemetry.batch import Encoding, Signal
    from andoncord.telemetry.redact import redact_text

from tests.server.test_pipeline import AT_NS, denied, spans
from tests.telemetry.test_redact import SECRETS

from benchmarks.load import Load

LIMIT = 200_000
KINDS = [
    (signal, encoding, compression)
    for signal in Signal
    for encoding in Encoding
    for compression in ("", "gzip", "zstd", "deflate")
]


def one_input(raw: bytes) -> None:
    """One body, read in the way that its first byte says."""
    if not raw:
        return
    signal, encoding, compression = KINDS[raw[0] % len(KINDS)]
    job = Job(body=raw[1:], signal=signal, encoding=encoding, compression=compression, received_ns=AT_NS)
    try:
        decoded = prepare(job, limit=LIMIT).decoded
    except CallerError:
        return
    rejected = sum(rejection.count for rejection in decoded.rejected)
    assert decoded.seen == len(decoded.events) + rejected, (decoded.seen, len(decoded.events), decoded.rejected)
    for event in decoded.events:
        text = event.arguments
        assert redact_text(text)[0] == redact_text(redact_text(text)[0])[0], "masking twice changes something"


def seeds(folder: Path) -> None:
    """Bodies to begin with, for each way of reading them."""
    bodies = [
        spans("01" * 8, "02" * 8),
        denied("run-1"),
        Load(has_content=True).request(0, AT_NS)[:4_000],
        *(spans("03" * 8, agent=f"bot {secret}") for secret in SECRETS.values()),
    ]
    for number, body in enumerate(bodies):
        for kind, (_, _, compression) in enumerate(KINDS):
            if not compression:
                (folder / f"{number}-{kind}").write_bytes(bytes((kind,)) + body)


def main() -> None:
    """Fuzz; arguments as libFuzzer's."""
    with tempfile.TemporaryDirectory() as folder:
        seeds(Path(folder))
        atheris.Setup(
            [*sys.argv, "-max_len=6000", "-rss_limit_mb=2048", "-timeout=20", f"-artifact_prefix={folder}/", folder], one_input
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
