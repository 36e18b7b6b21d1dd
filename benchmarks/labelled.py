"""What `andon analyze` finds in recorded, labelled runs, beside trivial guesses.

The sets are not part of the repository: `ANDON_LABELLED` names their folder, by default `shared/data` beside the working copy.
A set whose files are not there is left out, and the notes say so. The files: `<set>/traces.otlp.jsonl`, `<set>/labels.jsonl`.
"""

import os
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from andoncord.cli.analyze import Tally, judge
from andoncord.detect.bank import Bank
from andoncord.detect.declared import Declared
from andoncord.detect.pack import recorded_rules
from andoncord.detect.scope import load_scope
from andoncord.investigate.report import TraceReport
from andoncord.investigate.responsible import signs_of
from andoncord.investigate.steps import in_order, steps_of
from andoncord.kernel.vocabulary import Pattern
from andoncord.telemetry.event import Event, EventKind
from andoncord.telemetry.otlp import decode_traces_json
from andoncord.telemetry.stitch import stitch
from benchmarks import held_out
from benchmarks.result import Result

FOLDER = os.environ.get("ANDON_LABELLED") or str(Path(__file__).parents[1].parent / "shared" / "data")
SEED = 7
BLIND_DRAWS = 200
"""Random guesses averaged."""

Figures = dict[str, float]


class Run(msgspec.Struct, frozen=True):
    """One recorded run: its events, its labels, what was found."""

    events: list[Event]
    label: dict[str, Any]
    report: TraceReport


def run() -> Result:
    """Judge every set that is there; figures `<set>_<metric>`, trivial baselines `<set>_<metric>_trivial`."""
    figures: Figures = {}
    baselines: Figures = {}
    absent: list[str] = []
    for name, measure in SETS.items():
        folder = Path(FOLDER) / name
        if not (folder / "traces.otlp.jsonl").is_file() or not (folder / "labels.jsonl").is_file():
            absent.append(name)
            continue
        found, trivial = measure(folder)
        figures |= {f"{name}_{metric}": round(value, 4) for metric, value in found.items()}
        baselines |= {f"{name}_{metric}_trivial": round(value, 4) for metric, value in trivial.items()}
    rows = tuple((key, value, baselines.get(f"{key}_trivial", "")) for key, value in figures.items())
    return Result(
        figures=figures,
        baselines=baselines,
        columns=("figure", "measured", "trivial"),
        rows=rows or (("no set found", "", ""),),
        notes=(
            "Trivial: for f1 every run is called positive; for auroc the number of spans; for the responsible the best of",
            "random, first, last and longest step and most frequent speaker (at 3: random). false_alarms_per_100 has none.",
            "The three weights of the risk were fitted on runs of two of these sets; figures by folds: docs/detection.md.",
            f"Left out, no files: {', '.join(absent) or 'none'}.",
        ),
    )


def recorded(folder: Path) -> Iterator[tuple[list[Event], dict[str, Any]]]:
    """The events and labels of every run."""
    labels = {
        label["trace_id"]: label for label in map(msgspec.json.decode, (folder / "labels.jsonl").read_bytes().splitlines())
    }
    with (folder / "traces.otlp.jsonl").open("rb") as file:
        for line in file:
            events = list(decode_traces_json(line, received_ns=0).events)
            if events and events[0].trace_id in labels:
                yield events, labels[events[0].trace_id]


def judged(folder: Path, declared: Mapping[str, Declared] | None = None) -> list[Run]:
    """Every run of a set with its report, by the code of `andon analyze`."""
    rules, tally = recorded_rules(), Tally()
    return [Run(events, label, judge(events, [], rules, tally, declared or {}).report) for events, label in recorded(folder)]


def attacked(folder: Path) -> tuple[Figures, Figures]:
    """Runs under injection: acting on foreign orders is the incident, reading them is not."""
    runs = judged(folder)
    truth = [bool(each.label["took_effect"]) for each in runs]
    acted = [has(each.report, Pattern.INJECTED_ACTION) for each in runs]
    found = {"incident_f1": f1([each.report.incident for each in runs], truth), "injected_action_f1": f1(acted, truth)}
    found["injected_action_precision"], found["injected_action_recall"] = precision_recall(acted, truth)
    for channel in sorted({each.label["channel"] for each in runs if each.label["channel"]}):
        part = [place for place, each in enumerate(runs) if each.label["channel"] == channel]
        found[f"injected_action_f1_{channel}"] = f1([acted[place] for place in part], [truth[place] for place in part])
    found["false_alarms_per_100"] = false_alarms(runs, truth)
    everywhere = [True] * len(runs)
    return found, {"incident_f1": f1(everywhere, truth), "injected_action_f1": f1(everywhere, truth)}


def failing(folder: Path) -> tuple[Figures, Figures]:
    """Runs that failed or not, with the scope of the task where the set has one."""
    scope = folder / "scope.json"
    declared = {"*": Declared(agent="*", scope=load_scope(scope.read_text(), place=scope.name))} if scope.is_file() else {}
    runs = judged(folder, declared)
    failed = [bool(each.label["failed"]) for each in runs]
    wrong = [bool(each.label["failed"] or each.label.get("forbidden_edit")) for each in runs]
    found = {
        "risk_auroc": auroc([each.report.risk for each in runs], failed),
        "incident_f1": f1([each.report.incident for each in runs], wrong),
        "false_alarms_per_100": false_alarms(runs, wrong),
    }
    trivial = {
        "risk_auroc": auroc([float(len(each.events)) for each in runs], failed),
        "incident_f1": f1([True] * len(runs), wrong),
    }
    if scope.is_file():
        edited = [bool(each.label["forbidden_edit"]) for each in runs]
        found["forbidden_edit_f1"] = f1([has(each.report, Pattern.FORBIDDEN_EDIT) for each in runs], edited)
        trivial["forbidden_edit_f1"] = f1([True] * len(runs), edited)
    return found, trivial


def collapsing(folder: Path) -> tuple[Figures, Figures]:
    """Societies cut after a round that they survived: will they collapse later? Compared within a round only."""
    rules, tally = recorded_rules(), Tally()
    whole: list[Run] = []
    found: Figures = {}
    trivial: Figures = {}
    cut: dict[int, list[tuple[float, float, bool]]] = {}
    for events, label in recorded(folder):
        whole.append(Run(events, label, judge(events, [], rules, tally, {}).report))
        for last in (0, 1, 2):
            part = until_round(events, last)
            collapse = label["collapse_round"] if label["collapsed"] else None
            if part and (collapse is None or collapse > last):
                report = judge(part, [], rules, tally, {}).report
                cut.setdefault(last, []).append((report.risk, float(len(part)), collapse is not None))
    truth = [bool(each.label["collapsed"]) for each in whole]
    seen = [
        (each.label["source_id"], held_out.falls(in_order(each.events)), is_lost)
        for each, is_lost in zip(whole, truth, strict=True)
    ]
    found |= held_out.depletion(seen)
    found["incident_f1"] = f1([each.report.incident for each in whole], truth)
    found["false_alarms_per_100"] = false_alarms(whole, truth)
    trivial["incident_f1"] = f1([True] * len(whole), truth)
    for last, scored in sorted(cut.items()):
        risks, lengths, lost = zip(*scored, strict=True)
        if len(set(lost)) == 2:
            found[f"collapse_auroc_round_{last}"] = auroc(risks, lost)
            trivial[f"collapse_auroc_round_{last}"] = auroc(lengths, lost)
    return found, trivial


def until_round(events: Sequence[Event], last: int) -> list[Event]:
    """The events before the first call of a later round, and before the one that ends the whole."""
    stop: int | None = None
    seen = False
    for event in events:
        if event.kind is EventKind.TOOL_COMPLETED and event.arguments.startswith("{"):
            number = msgspec.json.decode(event.arguments).get("round")
            seen = seen or number is not None
            if number is not None and number > last:
                stop = event.start_ns if stop is None else min(stop, event.start_ns)
    if not seen:
        return []
    return [event for event in events if stop is None or event.at_ns <= stop]


def blamed(folder: Path) -> tuple[Figures, Figures]:
    """Failed multi-agent runs: the responsible agent and the decisive step."""
    runs = judged(folder)
    hits: Counter[str] = Counter()
    blind: dict[str, float] = defaultdict(float)
    dice = random.Random(SEED)
    for each in runs:
        answer = each.label["annotations"][0]
        suspects = each.report.responsible
        hits["responsible_agent"] += bool(suspects) and suspects[0].agent == answer["agent"]
        for depth in (1, 3):
            hits[f"responsible_step_at_{depth}"] += any(one.span_id in answer["span_ids"] for one in suspects[:depth])
        steps = sorted(
            (event for event in stitch(each.events) if event.kind in (EventKind.MODEL_COMPLETED, EventKind.TOOL_COMPLETED)),
            key=lambda event: event.at_ns,
        )
        if not steps:
            continue
        said = Counter(event.agent for event in steps)
        frequent = next(event for event in steps if event.agent == said.most_common(1)[0][0])
        guesses = {"first": steps[0], "last": steps[-1], "longest": max(steps, key=_length), "frequent": frequent}
        for guess, event in guesses.items():
            blind[f"{guess} agent"] += event.agent == answer["agent"]
            blind[f"{guess} step"] += event.span_id in answer["span_ids"]
        for _ in range(BLIND_DRAWS):
            drawn = dice.sample(steps, min(3, len(steps)))
            blind["random agent"] += (drawn[0].agent == answer["agent"]) / BLIND_DRAWS
            blind["random step"] += (drawn[0].span_id in answer["span_ids"]) / BLIND_DRAWS
            blind["random step 3"] += any(event.span_id in answer["span_ids"] for event in drawn) / BLIND_DRAWS
    fitted, _ = held_out.blame([_signs(each) for each in runs])
    count = max(1, len(runs))
    kinds = ("first", "last", "longest", "frequent", "random")
    trivial = {
        "responsible_agent": max(blind[f"{kind} agent"] for kind in kinds) / count,
        "responsible_step_at_1": max(blind[f"{kind} step"] for kind in kinds) / count,
        "responsible_step_at_3": blind["random step 3"] / count,
    }
    trivial |= {f"{name}_held_out": trivial[name] for name in ("responsible_step_at_1", "responsible_step_at_3")}
    return {name: hits[name] / count for name in trivial if name in hits} | fitted, trivial


def _signs(run: Run) -> tuple[str, held_out.Signs, list[bool]]:
    """The group of a run, what speaks against each of its steps, and which is the responsible one."""
    whole = in_order(stitch(run.events))
    bank = Bank(recorded_rules())
    findings = [finding for event in whole for finding in bank.observe(event)]
    steps = steps_of(whole)
    right = run.label["annotations"][0]["span_ids"]
    return run.label["source_id"], signs_of(steps, findings), [step.event.span_id in right for step in steps]


def _length(event: Event) -> int:
    return len(event.output_text) + len(event.result)


def has(report: TraceReport, pattern: Pattern) -> bool:
    """Whether a report names a pattern."""
    return any(finding.pattern is pattern for finding in report.findings)


def false_alarms(runs: Sequence[Run], wrong: Sequence[bool]) -> float:
    """Incidents among 100 runs in which nothing went wrong."""
    benign = [each.report.incident for each, is_wrong in zip(runs, wrong, strict=True) if not is_wrong]
    return 100 * sum(benign) / len(benign) if benign else 0.0


def precision_recall(found: Sequence[bool], truth: Sequence[bool]) -> tuple[float, float]:
    """Share of alarms that are right, share of cases found.

    >>> precision_recall([True, True, False], [True, False, True])
    (0.5, 0.5)
    """
    right = sum(one and other for one, other in zip(found, truth, strict=True))
    return right / max(1, sum(found)), right / max(1, sum(truth))


def f1(found: Sequence[bool], truth: Sequence[bool]) -> float:
    """The harmonic mean of precision and recall.

    >>> f1([True, True, False], [True, False, True])
    0.5
    """
    right = sum(one and other for one, other in zip(found, truth, strict=True))
    return 2 * right / max(1, sum(found) + sum(truth))


def auroc(scores: Sequence[float], truth: Sequence[bool]) -> float:
    """How often a positive scores above a negative; ties count half.

    >>> auroc([3, 2, 1], [True, False, True])
    0.5
    """
    high = [score for score, is_true in zip(scores, truth, strict=True) if is_true]
    low = [score for score, is_true in zip(scores, truth, strict=True) if not is_true]
    if not high or not low:
        return 0.5
    return sum((one > other) + 0.5 * (one == other) for one in high for other in low) / (len(high) * len(low))


SETS: dict[str, Callable[[Path], tuple[Figures, Figures]]] = {
    "craibench": attacked,
    "tau_airline": failing,
    "miniswe": failing,
    "govsim": collapsing,
    "whowhen": blamed,
}
