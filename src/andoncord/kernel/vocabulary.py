"""The closed vocabularies of Andoncord, each named once.

Everything that stores, prints or compares one of these words uses the names below, whether or not a rule uses the word yet.
"""

from enum import StrEnum
from functools import cached_property


class Severity(StrEnum):
    """How bad, lowest first (INC-3). Compare with `rank`.

    >>> max([Severity.LOW, Severity.CRITICAL, Severity.HIGH], key=lambda severity: severity.rank)
    <Severity.CRITICAL: 'critical'>
    """

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @cached_property
    def rank(self) -> int:
        """Position on the scale: 0 (low) to 3 (critical)."""
        return tuple(Severity).index(self)


class SevLevel(StrEnum):
    """The second scale of INC-3: how the harm met its users."""

    SEV1 = "SEV-1"
    SEV2 = "SEV-2"
    SEV3 = "SEV-3"


class Category(StrEnum):
    """The six incident categories, in order of response priority (INC-2)."""

    DECISION_FAILURE = "decision_failure"
    STATE_CORRUPTION = "state_corruption"
    CASCADING_FAILURE = "cascading_failure"
    EMERGENT_BEHAVIOR = "emergent_behavior"
    COMMUNICATION_BREAKDOWN = "communication_breakdown"
    RESOURCE_EXHAUSTION = "resource_exhaustion"

    @property
    def priority(self) -> Severity:
        """The response priority of INC-2: which of two equally severe incidents is worked first."""
        if self in (Category.DECISION_FAILURE, Category.STATE_CORRUPTION, Category.CASCADING_FAILURE):
            return Severity.CRITICAL
        return Severity.MEDIUM if self is Category.RESOURCE_EXHAUSTION else Severity.HIGH


class Pattern(StrEnum):
    """The failure patterns a finding can name (INV-10)."""

    INFINITE_LOOP = "infinite_loop"
    REPEATED_FAILURE = "repeated_failure"
    TOOL_FAILURE_STREAK = "tool_failure_streak"
    COST_SPIRAL = "cost_spiral"
    TOKEN_BURST = "token_burst"
    CONTEXT_GROWTH = "context_growth"
    SCOPE_CREEP = "scope_creep"
    FORBIDDEN_EDIT = "forbidden_edit"
    UNAUTHORIZED_ACTION = "unauthorized_action"
    POLICY_VIOLATION = "policy_violation"
    INJECTION_EXPOSURE = "injection_exposure"
    """Foreign instructions were read."""
    INJECTED_ACTION = "injected_action"
    """Foreign instructions were acted on."""
    DATA_EXFILTRATION = "data_exfiltration"
    HARMFUL_OUTPUT = "harmful_output"
    CONFIDENT_HALLUCINATION = "confident_hallucination"
    QUALITY_DROP = "quality_drop"
    BEHAVIOR_DRIFT = "behavior_drift"
    SILENCE = "silence"
    DECISION_CASCADE = "decision_cascade"
    STATE_CORRUPTION = "state_corruption"
    EMERGENT_BEHAVIOR = "emergent_behavior"


class CauseType(StrEnum):
    """What a root cause can be (INV-4)."""

    TRAINING_DATA_ISSUE = "training_data_issue"
    PROMPT_ISSUE = "prompt_issue"
    PROMPT_CHANGE = "prompt_change"
    CAPABILITY_MISMATCH = "capability_mismatch"
    EMERGENT_BEHAVIOR = "emergent_behavior"
    FEEDBACK_LOOP = "feedback_loop"
    TOOL_CHANGE = "tool_change"
    TOOL_FAULT = "tool_fault"
    MODEL_CHANGE = "model_change"
    INPUT_SHIFT = "input_shift"
    SYSTEM_FAULT = "system_fault"


class IncidentState(StrEnum):
    """The lifecycle of INC-6, in order."""

    DETECTED = "detected"
    TRIAGED = "triaged"
    CONTAINED = "contained"
    INVESTIGATING = "investigating"
    RECOVERING = "recovering"
    RESOLVED = "resolved"
    REVIEWED = "reviewed"

    @cached_property
    def rank(self) -> int:
        """Position in the lifecycle, 0 first."""
        return tuple(IncidentState).index(self)


class Verdict(StrEnum):
    """What may be said of a containment. `UNVERIFIED` always comes with what is missing."""

    VERIFIED = "VERIFIED"
    UNVERIFIED = "UNVERIFIED"
    FAILED = "FAILED"


class Mode(StrEnum):
    """What a rule is allowed to do (DET-19): note in silence, open an incident, or act on it."""

    SHADOW = "shadow"
    ALERT = "alert"
    ACT = "act"


class Disposition(StrEnum):
    """What an incident turned out to be (INC-7)."""

    REAL = "real"
    FALSE_POSITIVE = "false_positive"
    DUPLICATE = "duplicate"
    TEST = "test"
