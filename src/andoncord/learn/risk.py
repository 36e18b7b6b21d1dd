"""What is said of the next hour, and how good such sayings were: the records of `learn.hazard` (DET-20)."""

import msgspec


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One incident as the model counts it, of one agent."""

    agent: str
    detected_ns: int
    until_ns: int
    """Until when it went on; before that no new one can begin."""


class Interval(msgspec.Struct, frozen=True):
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """Hours with similar predictions: what was predicted, and what came."""

    predicted: float
    observed: float
    hours: int


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """How good the model was on hours that it had not seen."""

    hours: int
    incidents: int
    gain: Interval
    """How much better than recency alone, in bits an agent-hour: it must be above 0 with its whole interval."""
    precision: float
    """Average precision of its ranking of hours."""
    recency_precision: float
    """The same of recency alone."""
    lift: Interval
    """The one over the other."""
    calibration_error: float
    """Mean distance of predicted from observed share over hours with similar predictions."""
    calibration: tuple[Share, ...]


class Risk(msgspec.Struct, frozen=True, kw_only=True):
    """What is predicted of one agent."""

    agent: str
    probability: float
    """Of an incident in the next hour."""
    recency: float
    """What recency alone would say."""
    because: tuple[str, ...]
    """The features that raise it most."""


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """What is predicted, or why nothing is."""

    is_on: bool
    why_off: str = ""
    at_ns: int
    judgement: Judgement | None = None
    risks: tuple[Risk, ...] = ()
