"""The readable report of `andon analyze`: plain text, every word of an agent made visible."""

from collections.abc import Iterator

from andoncord.investigate.report import Analysis
from andoncord.kernel.text import visible
from andoncord.kernel.time import rfc3339

MAX_MOMENTS = 12
MAX_FINDINGS = 10
WIDTH = 160


def report_text(analysis: Analysis) -> str:
    """One trace as a block of lines."""
    return "\n".join(_lines(analysis))


def _lines(analysis: Analysis) -> Iterator[str]:
    report, account = analysis.report, analysis.investigation
    trace_id = visible(report.trace_id or "(no trace id)", 40)
    if not report.incident:
        yield f"{trace_id}  no incident  risk {report.risk:.2f}{_exposure(analysis)}"
        return
    assert report.severity is not None
    assert report.category is not None
    pattern = account.pattern.value if account.pattern else ""
    yield f"{trace_id}  {report.severity.value.upper()}  {report.category.value} / {pattern}  risk {report.risk:.2f}"
    yield "  found"
    for finding in report.findings[:MAX_FINDINGS]:
        told = f"{finding.rule}: {visible(finding.summary, WIDTH)} [{visible(finding.agent, 60)} {finding.span_id}]"
        yield f"    {finding.severity.value:<8} {told}"
    if len(report.findings) > MAX_FINDINGS:
        yield f"    and {len(report.findings) - MAX_FINDINGS} more"
    yield "  probably responsible (a ranking, not a verdict)"
    for place, suspect in enumerate(account.responsible, start=1):
        agent, why = visible(suspect.agent, 60), visible(suspect.why, WIDTH)
        yield f"    {place}. {agent} at {suspect.span_id}, {suspect.score:.2f}: {why}"
    if account.root_causes:
        yield "  causes the record is consistent with"
    for cause in account.root_causes:
        yield f"    {cause.score:.2f} {cause.type.value}: {visible(cause.summary, WIDTH)}"
        for against in cause.against[:2]:
            yield f"         against: {visible(against, WIDTH)}"
    if account.factors:
        yield "  what made it possible"
    for factor in account.factors:
        yield f"    {visible(factor, WIDTH)}"
    moments = [moment for moment in account.timeline if moment.key][:MAX_MOMENTS]
    if moments:
        yield "  key moments"
    for moment in moments:
        yield f"    {rfc3339(moment.at_ns)} {moment.agent}: {visible(moment.text, WIDTH)}"
    yield ""


def _exposure(analysis: Analysis) -> str:
    """What was noted without being an incident."""
    noted = sorted({finding.pattern.value for finding in analysis.report.findings})
    return f"  noted: {', '.join(noted)}" if noted else ""
