"""Settings: one file, `andon.yaml`, read once and checked whole. What it does not name keeps its default."""

import difflib
import re
import types
import typing
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml

from andoncord.adapters.sql.settings import DatabaseSettings
from andoncord.detect.declared import Declared, Objective
from andoncord.detect.invalid_state import invariant
from andoncord.detect.ledger import PER_WEEK
from andoncord.detect.scope import Scope
from andoncord.kernel.errors import CallerError
from andoncord.kernel.money import micro_usd
from andoncord.respond.approval import ApprovalSettings
from andoncord.respond.oncall import Oncall
from andoncord.server.access_settings import AccessSettings
from andoncord.server.alert_feed import AlertmanagerSettings
from andoncord.server.budgets import BudgetSettings
from andoncord.server.canary_settings import CanarySettings
from andoncord.server.channel_settings import ChannelSettings
from andoncord.server.credential_settings import CredentialSettings
from andoncord.server.deadman import DeadmanSettings
from andoncord.server.desk_settings import HandoverSettings, NoticeSettings, OutboxSettings
from andoncord.server.evaluator_settings import EvaluatorSettings
from andoncord.server.hook_settings import HookSettings
from andoncord.server.settings import ServerSettings, TelemetrySettings
from andoncord.server.source_settings import SourceSettings
from andoncord.server.tracker_settings import TrackerSettings
from andoncord.telemetry.fleet_view import Criticality, DeclaredAgent
from andoncord.telemetry.prices import Price

FILE_NAME = "andon.yaml"
Settings = typing.TypeVar("Settings", bound=msgspec.Struct)


class ObjectiveSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an agent has promised (PRV-5)."""

    quality: Annotated[float, msgspec.Meta(gt=0, lt=1)]
    """Share of scored runs that pass."""
    false_alarms_per_week: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """A budget of its own, beside that of the fleet; it needs the next line."""
    runs_per_week: Annotated[float, msgspec.Meta(gt=0)] = 1_000.0


class BreakerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A circuit breaker of an agent. The key it stands under is a glob over tools and models; `agent` is for all calls."""

    failure_ratio: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5
    """Share of failed calls in the window that opens it."""
    window_s: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    calls_min: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 10
    """Calls in the window below which nothing is concluded."""
    slow_s: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """A call that takes longer is slow."""
    slow_ratio: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.8
    open_s: Annotated[float, msgspec.Meta(gt=0)] = 30.0
    """How long it stays open before the first trial."""
    trials: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 3


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is declared about one agent. The key it stands under is its name, or a glob over names."""

    tools: dict[str, typing.Literal["read", "write"]] = {}
    """Tools it may use. Empty: undeclared, so that no tool counts as outside its scope."""
    objective: ObjectiveSettings | None = None
    budget_usd: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Normal cost of one run at most, US dollars."""
    environment: str = ""
    role: str = ""
    """What it acts as, such as `report-writer`: orders and policies can be scoped to it."""
    breakers: dict[str, BreakerConfig] = {}
    """Circuit breakers that every guard of it uses, beside those in its code."""
    step_timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    """Seconds after which a step that has not ended counts as hung."""
    idempotent: tuple[str, ...] = ()
    """Tools that write, and may be called again with the same arguments without doing more."""
    fallbacks: dict[str, typing.Literal["deny", "read-only", "hand-over", "hold"]] = {}
    """What becomes of a tool, or of those that a glob names, when `andon degrade` says no more than its name."""
    polls: tuple[str, ...] = ()
    """Tools that wait or poll by design; asking them again is no loop."""
    outside: tuple[str, ...] = ()
    """Tools whose arguments leave the house; a secret among them is a leak."""
    invariants: dict[str, str] = {}
    """Name → a condition over the `state` that it reports, such as `state.balance >= 0`."""
    scope: Scope | None = None
    """Which files its tasks may change."""
    description: str = ""
    version: str = ""
    """The version that should be running; another one that is seen stands beside it."""
    team: str = ""
    owner: str = ""
    """Whom to ask about it."""
    criticality: Criticality | None = None
    depends_on: tuple[str, ...] = ()
    """Agents, services and stores that it needs."""
    talks_to: tuple[str, ...] = ()
    """Agents, or globs over them, that it may reach. Empty: undeclared."""


class HeartbeatSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often guards say that they are alive, and when their silence is a finding."""

    every_s: Annotated[float, msgspec.Meta(ge=0.1, le=60)] = 1.0
    silent_after_s: Annotated[float, msgspec.Meta(ge=0.5)] = 3.0


class DetectionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The alarm budget (DET-21)."""

    false_alarms_per_week: Annotated[float, msgspec.Meta(gt=0)] = PER_WEEK
    """Of all statistical detectors together, for the whole fleet."""
    false_incidents_per_week: Annotated[float, msgspec.Meta(gt=0)] = PER_WEEK
    """Of all other rules together, by what people said of the incidents they opened."""


class OncallSettings(Oncall, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is told, in which order."""

    file: str = ""
    """A file with people, rotas and escalation instead, relative to the settings file."""
    link: str = ""
    """Where people open the console, such as `https://andon.example.org`: messages link to the incident there."""


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set."""

    server: ServerSettings = ServerSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    database: DatabaseSettings = DatabaseSettings()
    agents: dict[str, AgentSettings] = {}
    heartbeat: HeartbeatSettings = HeartbeatSettings()
    detection: DetectionSettings = DetectionSettings()
    rules: tuple[str, ...] = ()
    """Rule files of your own, beside the built-in ones; relative to the settings file."""
    hooks: dict[str, HookSettings] = {}
    """Commands that playbooks may call by name."""
    evaluators: dict[str, EvaluatorSettings] = {}
    """Who judges a sample of the runs."""
    canaries: dict[str, CanarySettings] = {}
    """Tasks with a known answer that agents are asked on a schedule."""
    sources: dict[str, SourceSettings] = {}
    """Other systems that send signed events or alerts about agents."""
    credentials: dict[str, CredentialSettings] = {}
    """What agents hold that a kill must make worthless."""
    playbooks: tuple[str, ...] = ()
    """Playbook files of your own, relative to the settings file; one of the same id takes the place of a built-in one."""
    policies: tuple[str, ...] = ()
    """Policy files that every guard loads; relative to the settings file."""
    budgets: BudgetSettings = BudgetSettings()
    deadman: DeadmanSettings = DeadmanSettings()
    channels: dict[str, ChannelSettings] = {}
    """How people and other systems are told."""
    trackers: dict[str, TrackerSettings] = {}
    """Where tickets about incidents go."""
    alertmanager: AlertmanagerSettings = AlertmanagerSettings()
    oncall: OncallSettings = OncallSettings()
    approvals: ApprovalSettings = ApprovalSettings()
    handover: HandoverSettings = HandoverSettings()
    outbox: OutboxSettings = OutboxSettings()
    notices: NoticeSettings = NoticeSettings()
    access: AccessSettings = AccessSettings()
    prices: tuple[Price, ...] = ()
    """Prices of your own; each stands before every built-in one of its model."""
    price_files: tuple[str, ...] = ()
    """Files of prices, relative to the settings file; what `prices` says stands before them, they before the built-in ones."""

    def declared(self) -> dict[str, Declared]:
        """The agents as detectors need them."""
        return {name: _declared(name, agent, self.heartbeat) for name, agent in self.agents.items()}

    def fleet(self) -> tuple[DeclaredAgent, ...]:
        """The agents as the fleet map shows them."""
        return tuple(_on_the_map(name, agent) for name, agent in self.agents.items())

    def is_repeatable(self, agent: str, tool: str) -> bool:
        """Whether an agent's tool may be called again without doing more: declared to read, or to be idempotent."""
        fitting = (each for name, each in self.agents.items() if fnmatchcase(agent, name))
        declared = self.agents.get(agent) or next(fitting, AgentSettings())
        return declared.tools.get(tool) == "read" or tool in declared.idempotent

    def fallback_of(self, agent: str, tool: str) -> str:
        """What is declared to become of a tool of an agent in place of its work; empty where nothing is."""
        fitting = (each for name, each in self.agents.items() if fnmatchcase(agent, name))
        declared = (self.agents.get(agent) or next(fitting, AgentSettings())).fallbacks
        return declared.get(tool) or next((to for glob, to in declared.items() if fnmatchcase(tool, glob)), "")

    def doubts(self) -> list[tuple[str, str]]:
        """What in the settings will hurt on the day it matters, each with its remedy (`andon doctor`)."""
        found: list[tuple[str, str]] = []
        for name, agent in self.agents.items():
            if not agent.tools:
                found.append((f"{name} has no declared tools, so nothing it calls is out of scope", "declare agents' tools"))
            strangers = [glob for glob in agent.talks_to if not any(fnmatchcase(other, glob) for other in self.agents)]
            if strangers:
                found.append((f"{name} talks to {strangers[0]!r}, which is not declared", "declare it, or correct its name"))
        every_s, silent_s = self.heartbeat.every_s, self.heartbeat.silent_after_s
        if silent_s < 2 * every_s:
            text = f"silent_after_s {silent_s:g} allows no lost heartbeat of every_s {every_s:g}"
            found.append((text, "set heartbeat.silent_after_s to at least twice every_s"))
        return found

    @property
    def environment(self) -> str:
        """The environment that every declared agent is in; empty when they are in several or in none."""
        found = {agent.environment for agent in self.agents.values()}
        return found.pop() if len(found) == 1 else ""


def load(text: str, *, place: str) -> Config:
    """Read settings from YAML.

    Args:
        text: the YAML; empty means every default.
        place: the file's name, for errors.

    Raises:
        CallerError: with file, line and remedy.

    >>> load("server: {api_port: 9000}", place="andon.yaml").server.api_port
    9000
    """
    return _read(text, Config, place)


def load_oncall(config: Config, *, beside: Path) -> Oncall:
    """Who is told, from the settings or from the file that they name.

    Raises:
        CallerError: it cannot be read, or somebody in it cannot be reached.
    """
    for name, channel in config.channels.items():
        channel.check(name)
    oncall: Oncall = config.oncall
    if config.oncall.file:
        if config.oncall.people or config.oncall.rotas or config.oncall.escalation:
            raise CallerError("names a file and says it itself", place="oncall.file", remedy="keep one of the two")
        ((place, text),) = texts((config.oncall.file,), beside=beside).items()
        oncall = _read(text, Oncall, place)
    oncall.check(config.channels, place=config.oncall.file or "oncall")
    return oncall


def _read(text: str, kind: type[Settings], place: str) -> Settings:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise CallerError(f"is not YAML: {error.problem}", place=f"{place}:{line}") from None
    if root is None:
        return kind()
    lines: dict[str, int] = {}
    raw = _plain(root, "$", lines, place)
    _check_keys(raw, kind, "$", lines, place)
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise _located(error, raw, lines, place) from None


def load_file(path: Path) -> Config:
    """Read the settings file at `path`; when there is none, every default.

    Raises:
        CallerError: it cannot be read or is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Config()
    except (OSError, UnicodeDecodeError) as error:
        raise CallerError(f"cannot be read: {error}", place=str(path)) from None
    return load(text, place=str(path))


def texts(names: tuple[str, ...], *, beside: Path) -> dict[str, str]:
    """The files that a setting names, by the name it gives them.

    Raises:
        CallerError: one of them cannot be read.
    """
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = (beside / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CallerError(f"cannot be read: {error}", place=name) from None
    return found


def _declared(name: str, agent: AgentSettings, heartbeat: HeartbeatSettings) -> Declared:
    objective = agent.objective
    for check, text in agent.invariants.items():
        invariant(text, place=f"agents.{name}.invariants.{check}")
    return Declared(
        agent=name,
        tools=dict(agent.tools),
        objective=Objective(
            quality=objective.quality,
            false_alarms_per_week=objective.false_alarms_per_week,
            runs_per_week=objective.runs_per_week,
        )
        if objective
        else None,
        budget_micro_usd=micro_usd(agent.budget_usd) if agent.budget_usd is not None else None,
        environment=agent.environment,
        silent_after_s=heartbeat.silent_after_s,
        step_timeout_s=agent.step_timeout_s,
        polls=agent.polls,
        outside=agent.outside,
        invariants=dict(agent.invariants),
        scope=agent.scope,
    )


def _on_the_map(name: str, agent: AgentSettings) -> DeclaredAgent:
    return DeclaredAgent(
        agent=name,
        description=agent.description,
        version=agent.version,
        role=agent.role,
        team=agent.team,
        owner=agent.owner,
        criticality=agent.criticality or "",
        environment=agent.environment,
        tools=dict(agent.tools),
        depends_on=agent.depends_on,
        talks_to=agent.talks_to,
    )


def _plain(node: yaml.Node, path: str, lines: dict[str, int], place: str) -> Any:
    """A YAML node as plain values; `lines` gets the line of everything in it."""
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise CallerError("a key must be a word", place=f"{place}:{line}")
            key = str(key_node.value)
            if key in mapping:
                raise CallerError(f"{key!r} is given twice", place=f"{place}:{line}", remedy="keep one of them")
            mapping[key] = _plain(value_node, f"{path}.{key}", lines, place)
            lines[f"{path}.{key}"] = line
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_plain(each, f"{path}[{index}]", lines, place) for index, each in enumerate(node.value)]
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node)
    except (yaml.YAMLError, ValueError) as error:
        raise CallerError(f"cannot be read: {error}", place=f"{place}:{lines[path]}") from None
    finally:
        loader.dispose()


def _check_keys(raw: Any, kind: Any, path: str, lines: dict[str, int], place: str) -> None:
    """Refuse keys that no setting has, with the nearest one that exists."""
    kind = _inner(kind)
    if not isinstance(raw, dict):
        return
    if typing.get_origin(kind) is dict:
        for key, value in raw.items():
            _check_keys(value, typing.get_args(kind)[1], f"{path}.{key}", lines, place)
        return
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return
    known = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    for key, value in raw.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            remedy = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}"
            raise CallerError(f"unknown key {key!r}", place=f"{place}:{lines[f'{path}.{key}']}", remedy=remedy)
        _check_keys(value, known[key], f"{path}.{key}", lines, place)


def _inner(kind: Any) -> Any:
    """The type itself, without `Annotated` and without `| None`."""
    if typing.get_origin(kind) is Annotated:
        return _inner(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return _inner(next(each for each in typing.get_args(kind) if each is not type(None)))
    return kind


def _located(error: msgspec.ValidationError, raw: Any, lines: dict[str, int], place: str) -> CallerError:
    """The error with the line it is on. For keys of a mapping msgspec says only `[...]`: the first that fits is named."""
    text, _, where = str(error).partition(" - at `")
    where = where.rstrip("`") or "$"
    pattern = re.compile(re.escape(where).replace(re.escape("[...]"), r"\.[^.\[]+"))
    for path, line in lines.items():
        if pattern.fullmatch(path) and _is_at_fault(raw, path, text):
            return CallerError(f"{path.removeprefix('$.')}: {text}", place=f"{place}:{line}")
    return CallerError(f"{where.removeprefix('$.')}: {text}", place=f"{place}:{lines[where]}" if where in lines else place)


def _is_at_fault(raw: Any, path: str, text: str) -> bool:
    """Whether the agent at `path` is one that does not convert; anything outside `agents` is."""
    parts = path.split(".")
    if len(parts) < 3 or parts[1] != "agents":
        return True
    try:
        msgspec.convert(raw["agents"][parts[2]], AgentSettings)
    except msgspec.ValidationError as error:
        return str(error).startswith(text)
    return False
