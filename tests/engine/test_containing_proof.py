"""The states of the proof, as the journal and the API tell them."""

from andoncord.engine.queries import view
from andoncord.engine.state import Intent
from andoncord.kernel.effect import EffectKind, Outcome
from andoncord.testing.story import Story


def _kill(story: Story, *, refused: bool | None) -> None:
    """A person kills an agent for which a credential is declared; the verification sees the rest reached."""

    def ordered(intent: Intent) -> tuple[Outcome, dict[str, object]]:
        return Outcome.DONE, {"asked": 1, "confirmed": 1, "unconfirmed": [], "acks": [], "credentials": ["crm"]}

    def verified(intent: Intent) -> tuple[Outcome, dict[str, object]]:
        (credential,) = intent.effect.parameters["credentials"]
        holds = credential["is_revoked"] and credential["is_refused"]
        reached = {"FENCED": intent.issued_ns, "STOPPED": intent.issued_ns}
        if holds:
            reached["CREDENTIALS_REVOKED"] = credential["at_ns"]
        missing = [] if holds else ["an attempt that shows that the credential crm is refused"]
        return Outcome.DONE, {"verdict": "VERIFIED" if holds else "UNVERIFIED", "missing": missing, "reached": reached}

    story.answers[EffectKind.ORDER] = ordered
    story.answers[EffectKind.VERIFY] = verified
    story.answers[EffectKind.REVOKE] = lambda intent: (Outcome.DONE, {"is_revoked": True, "is_refused": refused})
    story.answers[EffectKind.TERMINATE] = lambda intent: (Outcome.FAILED, {"missing": "no supervisor is connected"})
    story.ask("declare", incident="", agent="refunds", title="t", severity="high", reason="r")
    story.ask("contain", agent="refunds", rung="kill", reason="r")
    story.run()


def test_a_kill_passes_every_state_in_order(story: Story) -> None:
    """The credential is revoked and tried after the fence and before the verdict; each state has its time."""
    _kill(story, refused=True)

    (verdict,) = view(story.state, "inc_000001", now=story.now)["verdicts"]
    assert [each["stage"] for each in verdict["stages"]] == [
        "REQUESTED",
        "FENCED",
        "CREDENTIALS_REVOKED",
        "STOPPED",
        "VERIFIED",
    ]
    assert [each["at"] for each in verdict["stages"]] == sorted(each["at"] for each in verdict["stages"])


def test_a_state_that_was_not_reached_is_not_claimed(story: Story) -> None:
    """A credential that nobody could try leaves its state out, and the verdict UNVERIFIED."""
    _kill(story, refused=None)

    verdict = view(story.state, "inc_000001", now=story.now)["verdicts"][0]
    assert [each["stage"] for each in verdict["stages"]] == ["REQUESTED", "FENCED", "STOPPED", "UNVERIFIED"]
