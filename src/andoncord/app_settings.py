"""Wiring: what the settings name, loaded and checked."""

from importlib import resources
from pathlib import Path
from typing import Any

from andoncord import config as configuration
from andoncord.adapters.credentials.by_hook import Command, HookBroker
from andoncord.adapters.credentials.by_proxy import ProxyBroker
from andoncord.adapters.credentials.by_webhook import WebhookBroker
from andoncord.adapters.system import machine
from andoncord.adapters.system.beat import FileBeat, UrlBeat
from andoncord.config import Config
from andoncord.kernel.errors import CallerError
from andoncord.policy import policy as policies
from andoncord.respond import playbook, statement
from andoncord.respond.playbook import Playbook
from andoncord.respond.statement import Template
from andoncord.respond.steps import AUDIENCES
from andoncord.server.credentials import Held
from andoncord.server.deadman import BeatTarget
from andoncord.server.sources import Source


def credentials_held(config: Config, *, beside: Path) -> dict[str, Held]:
    """The credentials of the settings, each with whoever revokes it.

    Raises:
        CallerError: one of them cannot be revoked as it is written.
    """

    def command(name: str) -> Command | None:
        hook = config.hooks.get(name)
        if hook is None:
            return None
        return Command(argv=hook.run, timeout_s=hook.at_most_s, output_bytes=hook.output_kib * 1024)

    held: dict[str, Held] = {}
    for name, credential in config.credentials.items():
        credential.check(name, hooks=frozenset(config.hooks))
        if credential.proxy_tokens:
            by_proxy = ProxyBroker(folder=beside / credential.proxy_tokens, url=credential.proxy_url)
            held[name] = Held(agents=credential.agents, broker=by_proxy)
            continue
        revoking, probing = command(credential.revoke_hook), command(credential.probe_hook)
        token_file = beside / credential.revoke_token_file if credential.revoke_token_file else None
        broker = (
            WebhookBroker(url=credential.revoke_url, token_file=token_file, probing=probing)
            if revoking is None
            else HookBroker(revoking=revoking, probing=probing)
        )
        held[name] = Held(agents=credential.agents, broker=broker)
    return held


def load_playbooks(config: Config, *, beside: Path) -> tuple[Playbook, ...]:
    """The built-in playbooks, and those that the settings name, which take the place of built-in ones of the same id.

    Raises:
        CallerError: a playbook is wrong, or calls a hook that the settings do not name.
    """
    own = [playbook.load(text, place=place) for place, text in configuration.texts(config.playbooks, beside=beside).items()]
    known = {each.id: each for each in (*shipped_playbooks(), *own)}
    oncall = configuration.load_oncall(config, beside=beside)
    for each in known.values():
        playbook.refuse_unknown_hooks(each, config.hooks)
        playbook.refuse_unknown_targets(each, (*oncall.people, *oncall.rotas, *config.channels))
        playbook.refuse_unknown_trackers(each, config.trackers)
    return tuple(known.values())


def shipped_playbooks() -> tuple[Playbook, ...]:
    """The built-in playbooks."""
    folder = resources.files("andoncord") / "playbooks"
    files = sorted((each for each in folder.iterdir() if each.name.endswith(".yaml")), key=lambda each: each.name)
    return tuple(playbook.load(each.read_text(encoding="utf-8"), place=f"playbooks/{each.name}") for each in files)


def load_templates(config: Config, *, beside: Path) -> dict[str, Template]:
    """The template of each kind of notice: the built-in ones, and those of the settings in their place.

    Raises:
        CallerError: a template is wrong, or somebody whom notices go to cannot be reached.
    """
    folder = resources.files("andoncord") / "notices"
    built_in = sorted((each for each in folder.iterdir() if each.name.endswith(".yaml")), key=lambda each: each.name)
    found = [statement.load(each.read_text(encoding="utf-8"), place=f"notices/{each.name}") for each in built_in]
    own = configuration.texts(config.notices.templates, beside=beside)
    found += [statement.load(text, place=place) for place, text in own.items()]
    oncall = configuration.load_oncall(config, beside=beside)
    known = (*oncall.people, *oncall.rotas, *config.channels)
    told = {f"notices.{audience}": config.notices.of(audience) for audience in AUDIENCES}
    for place, names in {**told, "handover.to": config.handover.to, "outbox.to": config.outbox.to}.items():
        if unknown := [name for name in names if name not in known]:
            remedy = f"use one of: {', '.join(sorted(known)) or 'none'}"
            raise CallerError(f"there is no person, rota or channel {unknown[0]!r}", place=place, remedy=remedy)
    if config.outbox.role and config.outbox.role not in config.approvals.roles:
        remedy = f"name people under approvals.roles.{config.outbox.role}"
        raise CallerError(f"nobody is in the role {config.outbox.role!r}", place="outbox.role", remedy=remedy)
    return {template.audience: template for template in found}


def load_sources(config: Config, *, beside: Path) -> dict[str, Source]:
    """Whoever else sends events, with their secrets.

    Raises:
        CallerError: a secret cannot be read, or is none.
    """
    found: dict[str, Source] = {}
    for name, settings in config.sources.items():
        path = beside / settings.secret_file
        try:
            secret = path.read_text(encoding="utf-8").strip()
        except OSError as wrong:
            place = f"sources.{name}.secret_file"
            raise CallerError(f"{path}: {wrong.strerror}", place=place, remedy="put the secret there") from None
        found[name] = Source(name, settings, secret)
    return found


def load_policies(config: Config, *, beside: Path) -> list[dict[str, Any]]:
    """The policies that the settings name, compiled.

    Raises:
        CallerError: a policy file is wrong.
    """
    found = [
        policy
        for place, text in configuration.texts(config.policies, beside=beside).items()
        for policy in policies.load(text, place=place)
    ]
    return policies.compile_policies(found)


def missing_programs(config: Config) -> list[tuple[str, str]]:
    """Hooks that could not be started, each with its remedy: found now, and not in the night they are needed."""
    return [
        (f"hook {name} runs {hook.run[0]}, which is not there", "install it, or correct the hook")
        for name, hook in config.hooks.items()
        if not machine.has_program(hook.run[0])
    ]


def beat_targets(home: Path, config: Config) -> list[BeatTarget]:
    """Who is told that the server works."""
    targets: list[BeatTarget] = []
    if config.deadman.file:
        targets.append(FileBeat(home / config.deadman.file))
    if config.deadman.url:
        targets.append(UrlBeat(config.deadman.url))
    return targets
