"""The example of an enforcement point of one's own passes the suite that it shows."""

import runpy
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/conformance/test_gateway.py"

TestGateway = runpy.run_path(str(EXAMPLE))["TestGateway"]
