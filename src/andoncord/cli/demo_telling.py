"""How the demo is told in the terminal: with colour where there is one, plain everywhere else."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from andoncord.kernel.text import visible
from andoncord.sim.director import Scene
from andoncord.sim.story import FAILURES, Score

LABELS = {
    "setup": ("scene", "dim"),
    "fault": ("FAULT", "magenta"),
    "seen": ("SEEN", "bold red"),
    "stop": ("STOP", "bold yellow"),
    "unproven": ("UNPROVEN", "bold yellow"),
    "proven": ("PROVEN", "bold green"),
    "cause": ("cause", "cyan"),
    "operator": ("PERSON", "bold blue"),
    "recovery": ("recovery", "green"),
    "review": ("review", "cyan"),
    "proof": ("LEARNED", "bold green"),
    "alarm": ("ALARM", "bold white on red"),
    "end": ("end", "bold"),
}
LABEL_WIDTH = max(len(label) for label, _ in LABELS.values())
AGENT_WIDTH = 9


class Telling:
    """Prints scenes as they come and the score at the end. All text is printed as text: markup in it stays visible."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def tell(self, scene: Scene) -> None:
        """Print one scene."""
        label, style = LABELS[scene.kind]
        line = Text()
        line.append(f"{scene.at_s:6.1f}s  ", style="dim")
        line.append(f"{label:<{LABEL_WIDTH}}  ", style=style)
        line.append(f"{visible(scene.agent, 40):<{AGENT_WIDTH}}  ", style="bold")
        line.append(visible(scene.text, 600))
        self._console.print(line, soft_wrap=True)

    def summarise(self, score: Score) -> None:
        """Print the score as a table."""
        titles = {failure.letter: failure.agent for failure in FAILURES}
        # Fits 80 columns without borders; the severity and the review are in the lines above and in the console.
        table = Table(title=f"seed {score.seed}, {score.wall_s:.1f} s", title_justify="left", box=None, pad_edge=False)
        for column in ("failure", "seen as", "sev", "seen in", "held in", "verdicts", "back"):
            table.add_column(column, no_wrap=True)
        for incident in sorted(score.incidents, key=lambda each: each.failure or "~"):
            name = f"{incident.failure} {titles[incident.failure]}" if incident.failure else "false incident"
            table.add_row(
                name,
                incident.pattern.replace("_", " "),
                incident.sev,
                _seconds(incident.detected_in_s),
                _seconds(incident.contained_in_s),
                " → ".join(str(given["verdict"]) for given in incident.verdicts) or "none",
                "yes" if incident.recovered else "no",
            )
        self._console.print(table)
        self._console.print(
            Text(
                f"missed: {', '.join(score.missed) or 'none'}; false incidents: {score.false_incidents}; "
                f"healthy agents stopped: {score.false_stops}; the proposal refused the same document again: "
                f"{'yes' if score.proposal_refused_again else 'no'}"
            )
        )

    def say(self, text: str) -> None:
        """Print a line outside the story."""
        self._console.print(Text(text), soft_wrap=True)


def _seconds(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value * 1_000:.0f} ms" if value < 1 else f"{value:.1f} s"
