"""Four roles that nothing happens to: their paging, polling and retrying must not be taken for failures."""

from collections.abc import Mapping
from typing import Any

from andoncord.sim.chance import Chance
from andoncord.sim.script import Call, Desk, Role, Script, Task, Think, ToolFault

QUEUES = {"invoice": "billing", "parcel": "shipping", "password": "accounts", "refund": "refunds"}
PAGES = 3


def _thought(desk: Desk, prompt: str, reply: str) -> Think:
    return Think(
        prompt=prompt, reply=reply, input_tokens=400 + desk.chance.below(300), output_tokens=40 + desk.chance.below(60)
    )


# Triage: pages through a queue and labels a ticket.


def _triage_task(chance: Chance) -> Task:
    word = chance.pick(tuple(QUEUES))
    number = 1000 + chance.below(9000)
    return Task(
        name="label-ticket",
        brief=f"Label ticket {number}: 'my {word} is wrong'",
        expected=QUEUES[word],
        details={"ticket": number, "word": word},
    )


def _triage(desk: Desk) -> Script:
    for page in range(1, 1 + PAGES):
        found = yield Call("tickets.list", {"queue": "inbox", "page": page})
        if desk.task.details["ticket"] in found["tickets"]:
            break
    label = QUEUES[desk.task.details["word"]]
    yield _thought(desk, desk.task.brief, f"This belongs to {label}.")
    yield Call("tickets.label", {"ticket": desk.task.details["ticket"], "label": label})
    return label


def _list_tickets(desk: Desk, arguments: Mapping[str, Any]) -> Any:
    first = 100 * int(arguments["page"])
    own = [desk.task.details["ticket"]] if arguments["page"] == PAGES else []
    return {"page": arguments["page"], "tickets": [first + desk.chance.below(100) for _ in range(4)] + own}


# Pricing: reads quotes of several markets and sets a price.


def _pricing_task(chance: Chance) -> Task:
    quotes = [20 + chance.below(60) for _ in range(3)]
    article = chance.below(500)
    return Task(
        name="set-price",
        brief=f"Price article {article} at the middle of the market",
        expected=str(sorted(quotes)[1]),
        details={"article": article, "quotes": quotes},
    )


def _pricing(desk: Desk) -> Script:
    quotes: list[int] = []
    for market in ("north", "south", "west"):
        answer = yield Call("market.quote", {"article": desk.task.details["article"], "market": market})
        quotes.append(answer["price"])
    price = sorted(quotes)[1]
    yield _thought(desk, f"{desk.task.brief}; quotes {quotes}", f"{price}")
    yield Call("catalog.set_price", {"article": desk.task.details["article"], "price": price})
    return str(price)


def _quote(desk: Desk, arguments: Mapping[str, Any]) -> Any:
    return {"price": desk.task.details["quotes"][("north", "south", "west").index(arguments["market"])]}


# Billing: its ledger is sometimes unreachable for a moment, and it tries again.


def _billing_task(chance: Chance) -> Task:
    hours, rate = 1 + chance.below(40), 50 + 10 * chance.below(8)
    return Task(
        name="issue-invoice",
        brief=f"Invoice {hours} hours at {rate} USD",
        expected=str(hours * rate),
        details={"customer": chance.below(900), "hours": hours, "rate": rate},
    )


def _billing(desk: Desk) -> Script:
    customer = desk.task.details["customer"]
    try:
        entry = yield Call("ledger.read", {"customer": customer})
    except ToolFault:
        entry = yield Call("ledger.read", {"customer": customer})
    total = entry["hours"] * entry["rate"]
    yield _thought(desk, desk.task.brief, f"{total} USD")
    yield Call("invoices.issue", {"customer": customer, "amount_usd": total})
    return str(total)


def _ledger(desk: Desk, arguments: Mapping[str, Any]) -> Any:
    if desk.count("ledger") == 1 and desk.chance.happens(0.08):
        raise ToolFault("Timeout", "the ledger did not answer in time")
    return {"customer": arguments["customer"], "hours": desk.task.details["hours"], "rate": desk.task.details["rate"]}


# Shipping: polls a carrier until the label is ready; each answer shows progress.


def _shipping_task(chance: Chance) -> Task:
    parcel = f"P-{chance.below(100_000):05d}"
    return Task(
        name="ship-parcel",
        brief=f"Ship parcel {parcel}",
        expected=f"{parcel} ready",
        details={"parcel": parcel, "polls": 2 + chance.below(4)},
    )


def _shipping(desk: Desk) -> Script:
    parcel = desk.task.details["parcel"]
    yield _thought(desk, desk.task.brief, "Book it and wait for the label.")
    yield Call("carrier.book", {"parcel": parcel})
    for _ in range(2 + desk.task.details["polls"]):
        state = yield Call("carrier.status", {"parcel": parcel})
        if state["state"] == "ready":
            return f"{parcel} ready"
    return f"{parcel} late"


def _status(desk: Desk, arguments: Mapping[str, Any]) -> Any:
    polls = desk.count("status")
    ready = polls >= desk.task.details["polls"]
    return {
        "parcel": arguments["parcel"],
        "state": "ready" if ready else "sorting",
        "stations_left": max(0, desk.task.details["polls"] - polls),
    }


def _done(desk: Desk, arguments: Mapping[str, Any]) -> Any:
    return {"done": True}


STEADY_ROLES = (
    Role(
        name="triage",
        purpose="sorts incoming tickets",
        access={"tickets.list": "read", "tickets.label": "write"},
        tools={"tickets.list": _list_tickets, "tickets.label": _done},
        task=_triage_task,
        script=_triage,
        settings={"prompt": "Label each ticket with the team that owns it.", "model": "sim-small-1"},
        period_s=1.1,
    ),
    Role(
        name="pricing",
        purpose="sets prices from market quotes",
        access={"market.quote": "read", "catalog.set_price": "write"},
        tools={"market.quote": _quote, "catalog.set_price": _done},
        task=_pricing_task,
        script=_pricing,
        settings={"prompt": "Price at the median of three markets.", "model": "sim-small-1"},
        period_s=1.3,
    ),
    Role(
        name="billing",
        purpose="issues invoices",
        access={"ledger.read": "read", "invoices.issue": "write"},
        tools={"ledger.read": _ledger, "invoices.issue": _done},
        task=_billing_task,
        script=_billing,
        settings={"prompt": "Invoice the hours in the ledger.", "model": "sim-small-1"},
        period_s=1.2,
    ),
    Role(
        name="shipping",
        purpose="books parcels with carriers",
        access={"carrier.book": "write", "carrier.status": "read"},
        tools={"carrier.book": _done, "carrier.status": _status},
        task=_shipping_task,
        script=_shipping,
        settings={"prompt": "Book the parcel and wait for its label.", "model": "sim-small-1"},
        period_s=1.2,
    ),
)
