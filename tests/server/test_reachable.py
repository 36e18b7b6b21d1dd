"""Who would not be reached, or could not answer."""

from datetime import date
from pathlib import Path

from andoncord.adapters.sql.database import Database
from andoncord.adapters.sql.deliveries import SqlDeliveries
from andoncord.adapters.system.clock import SystemClock
from andoncord.kernel.access import SCOPES_OF, Actor, Role, covered
from andoncord.kernel.time import DAY_NS
from andoncord.respond.oncall import Escalation, Level, Oncall, Person
from andoncord.respond.rota import Layer, Rota
from andoncord.server.auth import ForbiddenError
from andoncord.server.notices import NotifyPerformer
from andoncord.server.reachable import doubts
from andoncord.testing.clock import OPENING

ROLES = {"ada": Role.RESPONDER, "bob": Role.VIEWER}


class Accounts:
    """People whose accounts are in `ROLES`."""

    def actor_named(self, name: str, *, via: str) -> Actor:
        if name not in ROLES:
            raise ForbiddenError(f"there is no account {name!r} in force")
        return Actor(name=name, may=covered(SCOPES_OF[ROLES[name]]), via=via)


def test_what_will_hurt_is_found_as_time_goes_on(tmp_path: Path) -> None:
    """Who has no account, who may not acknowledge, what is not connected; and a gap as soon as it is within a week."""
    weekdays = Layer(people=("ada",), starts=date(2026, 1, 1), days=("mon", "tue", "wed", "thu", "fri", "sat", "sun"))
    people = {name: Person(channels=("mail", "pager")) for name in ("ada", "bob", "cyd")}
    gone = Layer(people=("ada",), starts=date(2026, 1, 20))
    escalation = Escalation(levels=(Level(who=("always", "later", "mail")),))
    oncall = Oncall(
        people=people,
        rotas={"always": Rota(time_zone="UTC", layers=(weekdays,)), "later": Rota(time_zone="UTC", layers=(gone,))},
        escalation=escalation,
    )
    notices = NotifyPerformer(
        oncall=oncall,
        channels={},
        deliveries=SqlDeliveries(Database.in_file(tmp_path / "control.db")),
        clock=SystemClock(),
        chance=lambda: 0.0,
        link="",
    )
    notices.connections |= {"chat": lambda: "SlackError: invalid_auth", "alertmanager a:9093": lambda: ""}

    said = [text for text, remedy in doubts(notices, Accounts(), now_ns=OPENING) if remedy]
    assert [text for text in said if "rota" not in text] == [
        "bob is on call and may not acknowledge anything",
        "cyd is on call and has no account in force",
        "chat is not connected: SlackError: invalid_auth",
    ]
    assert any("rota later" in text for text in said)
    month_ns = OPENING + 30 * DAY_NS
    assert not any("rota" in text for text, _ in doubts(notices, Accounts(), now_ns=month_ns))
