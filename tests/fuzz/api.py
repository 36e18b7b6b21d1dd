"""Schemathesis over the HTTP API of a real server, by its own OpenAPI document: `python -m tests.fuzz.api [EXAMPLES]`.

Whatever is sent, nothing is answered with 5xx. The server is thrown away afterwards, and it orders nobody.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from andoncord.adapters.system.server_process import launch

EXAMPLES = 3
STREAMS = "/stream$|/orders$"
"""Answers that end only when the server does."""


def main(arguments: list[str]) -> int:
    """Send so many examples to each operation; 0 when none was answered with 5xx."""
    examples = int(arguments[0]) if arguments else EXAMPLES
    with tempfile.TemporaryDirectory() as folder, launch(Path(folder) / "home") as server:
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.api_url}/api/v1/openapi.json"]
        command += ["--header", f"Authorization: Bearer {server.admin_token}", "--exclude-path-regex", STREAMS]
        command += ["--checks", "not_a_server_error", "--phases", "examples,fuzzing", "--max-examples", str(examples)]
        command += ["--seed", "7", "--workers", "1", "--request-timeout", "20", "--generation-database", "none", "--no-color"]
        done = subprocess.run(command, check=False, cwd=folder)
        if done.returncode:
            print(server.log()[-3_000:], file=sys.stderr)
        return done.returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
