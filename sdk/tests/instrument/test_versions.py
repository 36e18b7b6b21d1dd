"""docs/adapters.md states what was tested."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
INSTRUMENT = ROOT / "sdk/src/andoncord_sdk/instrument"


def test_every_adapter_states_the_version_it_was_tested_with() -> None:
    """Each adapter has pinned requirements, and the page's table names the same version."""
    adapters = {path.stem for path in INSTRUMENT.glob("[!_]*.py")}
    pins = {path.parent.name: path.read_text().split() for path in Path(__file__).parent.glob("*/requirements.txt")}
    page = (ROOT / "docs/adapters.md").read_text()

    assert pins.keys() == adapters
    for name, requirements in pins.items():
        assert all("==" in requirement for requirement in requirements), name
        assert f"`{name}." in page, name
        assert any(f"`{requirement}`" in page for requirement in requirements), name
