"""Money as integer micro-USD: 1 USD is 1 000 000."""

from decimal import ROUND_HALF_EVEN, Decimal

MICRO_PER_USD = 1_000_000


def micro_usd(usd: float | int | str) -> int:
    """US dollars, as they arrive from outside, in micro-USD; half a micro-dollar rounds to even.

    >>> micro_usd(0.00522), micro_usd("200"), micro_usd(1)
    (5220, 200000000, 1000000)
    """
    return int((Decimal(str(usd)) * MICRO_PER_USD).to_integral_value(rounding=ROUND_HALF_EVEN))


def usd_text(amount_micro_usd: int) -> str:
    """Micro-USD as people read it.

    >>> usd_text(4_120_000_000), usd_text(5_220), usd_text(-1_500_000)
    ('$4,120.00', '$0.0052', '-$1.50')
    """
    sign = "-" if amount_micro_usd < 0 else ""
    amount = abs(amount_micro_usd) / MICRO_PER_USD
    return f"{sign}${amount:,.2f}" if amount >= 0.01 or amount == 0 else f"{sign}${amount:.4f}"
