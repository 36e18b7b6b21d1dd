"""What detectors keep is replaced whole and read back by name."""

from pathlib import Path

from andoncord.adapters.system.memory import MemoryFiles


def test_what_is_kept_is_read_back_and_replaced(tmp_path: Path) -> None:
    """The newest body under each name is there, and nothing half-written beside it."""
    files = MemoryFiles(tmp_path / "detectors")
    assert files.kept() == {}
    files.keep("run-cost", b"old")
    files.keep("run-cost", b"new")
    files.keep("run-steps", b"")

    assert files.kept() == {"run-cost": b"new", "run-steps": b""}
    assert sorted(path.name for path in (tmp_path / "detectors").iterdir()) == ["run-cost.state", "run-steps.state"]
