"""Keys on disk."""

from hashlib import blake2b
from pathlib import Path

from andoncord.adapters.parquet.keys import KeyRun, among_runs, as_pairs, run_content


def digest(number: int) -> bytes:
    return blake2b(str(number).encode(), digest_size=16).digest()


def test_every_key_of_a_run_is_found_and_no_other(tmp_path: Path) -> None:
    """Exact for keys at the ends, and for keys that share their first half with others."""
    alike = [b"\x07" * 8 + bytes([low]) * 8 for low in range(5)]
    ends = [b"\x00" * 16, b"\xff" * 16]
    keys = [*(digest(number) for number in range(5_000)), *alike[1:4], *ends]
    runs = []
    for place, part in enumerate((keys[:2_000], keys[2_000:])):
        path = tmp_path / f"{place}.keys"
        path.write_bytes(run_content(as_pairs(b"".join(part))))
        runs.append(KeyRun(path))
    strangers = [*(digest(number) for number in range(5_000, 6_000)), alike[0], alike[4]]

    assert among_runs(runs, [*keys, *strangers]) == set(keys)
    assert among_runs(runs, strangers) == set()
