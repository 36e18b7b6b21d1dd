"""The console's pages over the sample fleet: what they say, and what they can never do."""

import re

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from tests.server.console.page import Element, parse
from tests.server.console.sample import COOKIE, FOUR, GOOD_COOKIE, HOSTILE_VIEW, SampleConsole, moment, order

from andoncord.kernel.vocabulary import Verdict
from andoncord.server.console.room import MOMENT_LIMIT
from andoncord.server.console.routes import console_router

ROOMS = [f"/incidents/{view['id']}" for view in FOUR]
TRACE = f"/traces/{'ab' * 16}"
AGENTS = ["/fleet", "/fleet?state=unknown", "/fleet/refund-agent", "/fleet/archiver", TRACE, "/spread", "/spread?datum=search"]
PEOPLE = ["/approvals", "/approvals/apr_000001", "/approvals/apr_000003", "/account", "/audit"]
PAGES = ["/", "/desk", "/incidents", "/incidents?state=all", *AGENTS, *ROOMS, "/login", *PEOPLE]


@pytest.fixture
def hostile() -> str:
    """The room of an incident in which every text is an attack."""
    app = FastAPI()
    app.include_router(console_router(SampleConsole([HOSTILE_VIEW])))
    client = TestClient(app, base_url="http://127.0.0.1:8420", cookies={COOKIE: GOOD_COOKIE})
    return client.get(f"/incidents/{HOSTILE_VIEW['id']}").text


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_well_formed_and_answers(client: TestClient, path: str) -> None:
    """Every page answers 200 with elements that close in order, one h1 and a language."""
    answer = client.get(path)
    page = parse(answer.text)

    assert answer.status_code == 200
    assert len(page.all("h1")) == 1
    assert page.one("html").attributes["lang"] == "en"


@pytest.mark.parametrize("path", PAGES)
def test_no_page_carries_inline_script_or_style(client: TestClient, path: str) -> None:
    """Nothing on a page needs more than the policy `script-src 'self'; style-src 'self'` allows."""
    answer = client.get(path)
    page = parse(answer.text)

    policy = answer.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert not page.all("style")
    assert all(script.attributes.get("src", "").startswith("/static/") and not script.text for script in page.all("script"))
    assert not [name for element in page.all() for name in element.attributes if name == "style" or name.startswith("on")]
    assert not [element for element in page.all("a") if not re.match(r"[/#]", element.attributes["href"])]


@pytest.mark.parametrize("path", PAGES)
def test_every_form_that_acts_carries_csrf_and_key(client: TestClient, path: str) -> None:
    """A form that posts carries the session's token; one that acts on agents or incidents carries an idempotency key too."""
    page = parse(client.get(path).text)
    posting = [
        form for form in page.all("form") if form.attributes["method"] == "post" and form.attributes["action"] != "/login"
    ]

    for form in posting:
        assert form.all("input", name="csrf"), form.attributes["action"]
        if form.attributes["action"] not in ("/theme", "/logout"):
            assert form.all("input", name="key"), form.attributes["action"]


@pytest.mark.parametrize("path", PAGES)
def test_no_link_leads_nowhere(client: TestClient, path: str) -> None:
    """Every link to a page of the console answers, and every fragment is an element of the page."""
    page = parse(client.get(path).text)
    ids = {element.attributes["id"] for element in page.all() if "id" in element.attributes}

    for link in page.all("a"):
        target = link.attributes["href"]
        if target.startswith("#"):
            assert target[1:] in ids, target
        elif not target.startswith("/api/"):
            assert client.get(target.split("#")[0]).status_code == 200, target


@pytest.mark.parametrize("path", PAGES)
def test_every_field_has_a_name_that_can_be_read_out(client: TestClient, path: str) -> None:
    """Inputs, selects and text areas have a label; ids are unique."""
    page = parse(client.get(path).text)
    ids = [element.attributes["id"] for element in page.all() if "id" in element.attributes]
    labelled = {label.attributes.get("for") for label in page.all("label")}

    assert len(ids) == len(set(ids))
    for field in (*page.all("input"), *page.all("select"), *page.all("textarea")):
        inside = field
        while inside.parent is not None and inside.tag != "label":
            inside = inside.parent
        named = inside.tag == "label" or field.attributes.get("id") in labelled or "aria-labelledby" in field.attributes
        assert named or field.attributes.get("type") == "hidden", field.attributes


@pytest.mark.parametrize("path", PAGES)
def test_unverified_is_never_the_colour_of_success(client: TestClient, path: str) -> None:
    """No element that says UNVERIFIED, nor anything it stands in up to its panel, has the class of success."""
    page = parse(client.get(path).text)
    for element in page.all():
        if any(Verdict.UNVERIFIED in text for text in element.own_text):
            around: Element | None = element
            while around is not None and "panel" not in around.classes:
                assert "ok" not in around.classes
                around = around.parent


def test_unverified_says_what_is_missing(client: TestClient) -> None:
    """An unverified containment lists what stands between it and VERIFIED, and who did not confirm."""
    containment = parse(client.get("/incidents/inc_000004").text).one("section", id="containment")

    assert [item.text for item in containment.one("ul", class_="missing").all("li")] == [
        "acknowledgement of indexer-1",
        "heartbeats after the fence",
        "an empty process tree",
    ]
    assert "0 of 1 confirmed" in containment.text
    assert "Not confirmed: indexer-1" in containment.text
    assert "index.write unknown: it may have had its effect" in containment.text


def test_a_verdict_shows_the_states_it_came_through(client: TestClient) -> None:
    """Each state of the proof with its time, in their order."""
    panel = client.get("/incidents/inc_000001").text.split('id="containment"')[1]
    states = panel.split("States of the proof")[1].split("</ol>")[0]
    assert states.index("Requested") < states.index("Credentials revoked") < states.index("Verified")


def test_a_verdict_does_not_speak_about_a_later_order(console: SampleConsole, client: TestClient) -> None:
    """An order that came after the verdict is said to be unjudged, in the room and among the containments in force."""
    console.views["inc_000001"]["orders"] = [order("refund-agent", "kill", "13:59:00.000")]
    room = parse(client.get("/incidents/inc_000001").text)
    rows = parse(client.get("/").text).one("section", id="in-force").all("p", class_="row")

    assert "Kill was ordered for refund-agent since; that is not judged yet" in room.one("section", id="containment").text
    assert ["not judged" in row.text for row in rows if "refund-agent" in row.text] == [True]


def test_an_order_that_stands_by_itself_is_shown_with_its_scope_and_lifted_there(
    console: SampleConsole, client: TestClient
) -> None:
    """In the room and among what is in force, once each; its form lifts it, and the release of the agent is another matter."""
    standing = {"id": "ord_000001", "standing": "ord_000001", "what": "quarantine", "expires_at": "2026-01-01T15:00:00Z"}
    console.views["inc_000001"]["orders"] = [order("tool mail.* of role clerk", "quarantine", "13:59:00.000", **standing)]
    room = parse(client.get("/incidents/inc_000001").text).one("section", id="containment")
    rows = parse(client.get("/").text).one("section", id="in-force").all("p", class_="row")

    assert "Quarantine for tool mail.* of role clerk ord_000001" in room.text
    assert "ends by itself" in room.text
    (form,) = room.all("form")
    assert (form.attributes["action"], form.fields()["order"]) == ("/incidents/inc_000001/lift", "ord_000001")
    assert [row.text for row in rows if "Quarantine for tool mail.* of role clerk" in row.text]
    lifted = {**form.fields(), "reason": "it was a drill", "messages": "drop"}
    assert client.post(form.attributes["action"], data=lifted).status_code == 303
    assert console.asked[0]["parameters"] == {"order": "ord_000001", "reason": "it was a drill", "messages": "drop"}


def test_what_another_incident_holds_is_not_released_here(console: SampleConsole, client: TestClient) -> None:
    """A room shows that another incident holds its agent, links there, and offers no release of its own."""
    console.views["inc_000001"]["orders"] = [order("refund-agent", "kill", "13:59:00.000", incident="inc_000004")]
    containment = parse(client.get("/incidents/inc_000001").text).one("section", id="containment")

    assert containment.all("a", href="/incidents/inc_000004")
    assert "not judged yet" not in containment.text
    assert not containment.all("form")


def test_hostile_text_is_shown_and_not_obeyed(hostile: str) -> None:
    """Markup arrives as text; escape, bell and bidirectional characters arrive as pictures of themselves."""
    page = parse(hostile)

    assert all(script.attributes["src"].startswith("/static/") for script in page.all("script"))
    assert all(image.attributes["src"].startswith("/static/") for image in page.all("img"))
    assert "<script>alert(1)</script>" in page.text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", hostile)
    assert "␛[2J" in page.text


def test_long_agent_text_is_folded(hostile: str) -> None:
    """A long quotation is one line until it is unfolded, and marked as a quotation."""
    folded = parse(hostile).one("section", id="findings").one("details", class_="said-more")

    assert len(folded.one("summary").text) <= 300
    assert folded.one("summary").all("q", class_="said")


def test_the_proposed_action_can_be_taken_with_one_form(client: TestClient) -> None:
    """The box says what to do, why, what it would do, and its form carries the agent and the rung."""
    box = parse(client.get("/incidents/inc_000003").text).one("section", id="do-now")
    form = box.one("form", id="act-main")

    assert "Do this now: Pause support-agent" in box.text
    assert "Dry run: no further call starts" in box.text
    assert form.fields()["agent"] == "support-agent"
    assert form.one("button").attributes["value"] == "pause"


def test_untrusted_findings_are_said_to_be_untrusted(client: TestClient) -> None:
    """A finding from events without a bound token says so."""
    assert "Not trusted" in parse(client.get("/incidents/inc_000003").text).one("section", id="findings").text


def test_blanks_of_the_review_are_marked(client: TestClient) -> None:
    """A question the record cannot answer is marked for a person and has a field; the others show their answers."""
    review = parse(client.get("/incidents/inc_000002").text).one("section", id="review")

    assert len(review.all("div", class_="question")) == 5
    assert [field.attributes["name"] for field in review.all("textarea")] == ["answer.guard", "answer.blast"]
    assert "2 blanks for a person" in review.text
    assert "a person must answer" in review.one("div", class_="blank").text
    assert "effect: forbid" in review.one("pre").text


def test_now_shows_the_worst_first_and_who_holds_what(client: TestClient) -> None:
    """Open incidents come worst first; rungs in force name who ordered them; a silent agent is silent, not healthy."""
    page = parse(client.get("/").text)
    cards = [card.attributes["href"] for card in page.one("section", id="open").all("a", class_="incident-card")]
    cells = {
        cell.one("span", class_="cell-name").text: cell for cell in page.one("section", id="fleet").all("li", class_="cell")
    }

    assert cards == ["/incidents/inc_000004", "/incidents/inc_000003", "/incidents/inc_000001"]
    assert "by andoncord" in page.one("section", id="in-force").text
    assert "kill unconfirmed" in cells["indexer"].text
    assert "bad" in cells["indexer"].classes
    assert "paused" in cells["refund-agent"].text
    assert "ok" not in cells["legacy-crawler"].classes
    assert "silent" in cells["archiver"].text
    assert "bad" in cells["archiver"].classes
    assert "Last verified kill: research-agent" in page.one("section", id="in-force").text


def test_filters_are_in_the_address(client: TestClient) -> None:
    """State, level, agent and text of the address choose the rows, and the form shows them."""
    page = parse(client.get("/incidents?state=all&sev=SEV-1&agent=indexer&q=hangs").text)

    assert len(page.one("tbody").all("tr")) == 1
    assert page.one("form", class_="filters").fields() == {"state": "all", "sev": "SEV-1", "agent": "indexer", "q": "hangs"}


def test_an_empty_server_says_what_to_do_next() -> None:
    """Without agents and incidents each place says why it is empty, and the Now page how to begin."""
    app = FastAPI()
    app.include_router(console_router(SampleConsole([], [], environment="prod")))
    client = TestClient(app, base_url="http://127.0.0.1:8420", cookies={COOKIE: GOOD_COOKIE})
    now = parse(client.get("/").text)
    listed = parse(client.get("/incidents").text)
    filtered = client.get("/incidents?state=open&q=nothing")

    assert "andon demo" in now.one("section", id="open").text
    assert "No kill has been verified yet" in now.text
    assert "Simulated fleet" not in now.text
    assert "andon demo" in listed.text
    assert filtered.status_code == 200


def test_a_missing_incident_is_a_page_that_leads_on(client: TestClient) -> None:
    """An unknown incident answers 404 with a way back."""
    answer = client.get("/incidents/inc_999999")

    assert answer.status_code == 404
    assert "/incidents?state=all" in answer.text


def test_evidence_leads_to_its_moment_or_to_the_timeline(console: SampleConsole, client: TestClient) -> None:
    """A step that is not among the rows shown leads to the timeline, not to nowhere."""
    timeline = [
        moment("13:00:00.000", "tool", "first", span_id="00f067aa0ba902b7"),
        *(moment("13:00:01.000", "tool", "more") for _ in range(MOMENT_LIMIT)),
    ]
    console.views["inc_000001"]["timeline"] = timeline
    page = parse(client.get("/incidents/inc_000001").text)
    causes = page.one("section", id="causes")

    links = {link.attributes["href"] for link in causes.all("a", class_="mono")}

    assert {link for link in links if link.startswith("#")} == {"#timeline"}
    assert f"{MOMENT_LIMIT} of {MOMENT_LIMIT + 1} moments" in page.one("section", id="timeline").text


def test_figures_carry_their_target_and_their_incidents(client: TestClient) -> None:
    """Each figure says whether its target is met, what it means and which incidents are behind it."""
    panel = parse(client.get("/").text).one("section", id="kpis")

    assert "Time to detect 1.2 s target under 15 min: met" in panel.text
    assert "Verified containments 67% target over 95%: missed" in panel.text
    assert "from 3 incidents: inc_000001, inc_000002, inc_000003" in panel.text


def test_the_simulated_fleet_is_announced(client: TestClient) -> None:
    """In the demo every page says that nothing is real."""
    assert "Simulated fleet" in client.get("/").text


def test_static_files_are_kept_by_their_content(client: TestClient) -> None:
    """Style and scripts answer under an address made from their content; anything else does not exist."""
    page = parse(client.get("/").text)
    style = page.one("link", rel="stylesheet").attributes["href"]

    assert client.get(style).headers["content-type"] == "text/css; charset=utf-8"
    assert "immutable" in client.get(style).headers["cache-control"]
    assert client.get("/static/..%2froutes.py").status_code == 404


def test_the_fleet_shows_what_needs_attention_first(client: TestClient) -> None:
    """Held and unknown agents stand before those that run, and silence is called unknown."""
    page = parse(client.get("/fleet").text)
    rows = [row.text for row in page.one("table").all("tr")][1:]
    words = ["contained", "unknown", "running"]

    places = [next(place for place, word in enumerate(words) if word in row) for row in rows]
    assert places == sorted(places)
    assert any("archiver" in row and "unknown" in row for row in rows)


def test_an_agents_page_tells_declared_from_seen(client: TestClient) -> None:
    """Tools that were not declared, a version that should not run, partners nobody named, and gaps that are not 0."""
    text = client.get("/fleet/refund-agent").text
    page = parse(text)

    assert "2.1, while 2.0 is declared" in page.one("section", id="who").text
    assert "not declared" in page.one("section", id="tools").text
    assert "never called" in page.one("section", id="tools").text
    assert "not declared" in page.one("section", id="partners").text
    assert "inferred" in page.one("section", id="changes").text
    charts = [svg.attributes["aria-label"] for svg in page.all("svg")]
    assert len(charts) == 6
    assert all("15 of 60 points unknown" in label for label in charts)


def test_an_agent_that_is_not_known(client: TestClient) -> None:
    """Its page says so with 404, and names agents that are known."""
    answer = client.get("/fleet/nobody")

    assert answer.status_code == 404
    assert "known agents: refund-agent" in parse(answer.text).one("main").text


def test_hostile_names_are_inert_on_an_agents_page() -> None:
    """Names of tools, models and files come from agents: none becomes markup, none moves a cursor."""
    app = FastAPI()
    app.include_router(console_router(SampleConsole([HOSTILE_VIEW])))
    client = TestClient(app, base_url="http://127.0.0.1:8420", cookies={COOKIE: GOOD_COOKIE})
    for path in ("/fleet/refund-agent", "/fleet", "/", TRACE):
        text = client.get(path).text
        assert "<script>alert" not in text
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_a_trace_tells_what_happened(client: TestClient) -> None:
    """The tree with the failure, the refused call, what was said, a cost that is unknown and not 0; no trace is 404."""
    page = parse(client.get(TRACE).text)

    tree = page.one("section", id="tree").text
    assert "failed: Refused" in tree
    assert "guard denied" in tree
    assert "cost unknown" in tree
    assert "Refund 17?" in page.one("section", id="transcript").text
    assert "unknown" in page.one("section", id="figures").text
    assert client.get(f"/traces/{'0' * 32}").status_code == 404
