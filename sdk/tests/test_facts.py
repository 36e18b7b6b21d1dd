"""What policies may ask about a run."""

from andoncord_sdk import Guard


def test_facts_count_calls_and_name_the_version_only_when_there_is_one() -> None:
    """A policy can bound calls, and can pin a version with `has(run.config_version)`."""
    with Guard("doc").run("count") as run:
        assert run.facts() == {"id": run.id, "task": "count", "calls": 0, "spent_micro_usd": 0}
        run.call("add", lambda: 1)
        assert run.facts()["calls"] == 1
        run.admission.config_version = "v2"
        assert run.facts()["config_version"] == "v2"
