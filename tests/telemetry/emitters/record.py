"""Record what real emitters send, each in an environment of its own: `python tests/telemetry/emitters/record.py [name…]`.

Needs `uv` and a package index; the models are scripted and answer on loopback. What is recorded is committed, so that the tests
need neither. The versions below are those of the recordings: raise them to see what a new version sends.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
COMMON = ("msgspec", "opentelemetry-exporter-otlp-proto-common", "opentelemetry-sdk")
EMITTERS = {
    "openai_agents_openinference": (
        "emit_openai_agents.py",
        "openinference",
        ("openai-agents==0.24.0", "openinference-instrumentation-openai-agents==2.6.0"),
    ),
    "openai_agents_openllmetry": (
        "emit_openai_agents.py",
        "openllmetry",
        ("openai-agents==0.24.0", "opentelemetry-instrumentation-openai-agents==0.62.4"),
    ),
    "langchain_openinference": (
        "emit_langchain.py",
        "openinference",
        ("langchain==1.4.7", "langchain-openai==1.7.3", "openinference-instrumentation-langchain==0.1.80"),
    ),
    "langchain_openllmetry": (
        "emit_langchain.py",
        "openllmetry",
        ("langchain==1.4.7", "langchain-openai==1.7.3", "opentelemetry-instrumentation-langchain==0.62.4"),
    ),
    "pydantic_ai": ("emit_pydantic_ai.py", "own", ("pydantic-ai-slim[openai]==2.68.0",)),
    "google_adk": ("emit_google_adk.py", "newest", ("google-adk==2.13.0",)),
    "google_adk_first": ("emit_google_adk.py", "first", ("google-adk==2.13.0",)),
    "util_genai": ("emit_util_genai.py", "newest", ("opentelemetry-util-genai==1.3b0",)),
}

"""Recording → script, dialect, requirements."""


def record(name: str, uv: str) -> None:
    """Record one emitter in a new environment, which is thrown away."""
    script, dialect, requirements = EMITTERS[name]
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / "bin" / "python"
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *COMMON, *requirements], check=True)
        subprocess.run([python, HERE / "agents" / script, dialect, HERE / f"{name}.otlp.json"], check=True, timeout=120)


def main() -> None:
    """Record the emitters named on the command line, or all."""
    uv = shutil.which("uv")
    if uv is None:
        raise SystemExit("uv is not on the path: pip install uv")
    for name in sys.argv[1:] or EMITTERS:
        record(name, uv)


if __name__ == "__main__":
    main()
