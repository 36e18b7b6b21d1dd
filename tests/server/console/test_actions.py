"""The console's forms: what they ask the server to do, and what they refuse."""

import pytest
from starlette.testclient import TestClient
from tests.server.console.page import parse
from tests.server.console.sample import COOKIE, CSRF, GOOD_COOKIE, SampleConsole

from andoncord.kernel.vocabulary import Disposition
from andoncord.learn.review import BLANK

SEALED = {"csrf": CSRF, "key": "key-of-this-form"}


def test_the_rendered_form_pauses_the_agent(client: TestClient, console: SampleConsole) -> None:
    """Submitting the proposed action as rendered asks for exactly that, in the person's name and with the form's key."""
    form = parse(client.get("/incidents/inc_000003").text).one("form", id="act-main")
    answer = client.post(form.attributes["action"], data={**form.fields(), "rung": "pause"})

    assert answer.status_code == 303
    assert answer.headers["location"] == "/incidents/inc_000003?done=contain#containment"
    (asked,) = console.asked
    assert (asked["command"], asked["by"], asked["agent"]) == ("contain", "person:mira", "support-agent")
    assert asked["parameters"]["rung"] == "pause"
    assert asked["key"] == form.fields()["key"]


def test_the_page_after_an_order_shows_its_receipt(client: TestClient) -> None:
    """Following the redirect shows the order, who confirmed it, and a status message."""
    answer = client.post(
        "/incidents/inc_000003/contain", data={**SEALED, "agent": "support-agent", "rung": "pause"}, follow_redirects=True
    )
    page = parse(answer.text)

    assert "1 of 1 confirmed" in page.one("section", id="containment").text
    assert page.one("p", role="status", class_="notice").text.startswith("Ordered.")


@pytest.mark.parametrize("confirm", ["", "Support-Agent", "support"])
def test_kill_needs_the_name(client: TestClient, console: SampleConsole, confirm: str) -> None:
    """A kill without the agent's exact name does nothing and says so."""
    form = {**SEALED, "agent": "support-agent", "rung": "kill", "confirm": confirm}
    answer = client.post("/incidents/inc_000003/contain", data=form)

    assert answer.status_code == 422
    assert "nothing was killed" in parse(answer.text).one("p", role="alert").text
    assert console.asked == []


def test_kill_with_the_name_kills(client: TestClient, console: SampleConsole) -> None:
    """With the exact name the kill is asked for."""
    form = {**SEALED, "agent": "support-agent", "rung": "kill", "confirm": "support-agent"}

    assert client.post("/incidents/inc_000003/contain", data=form).status_code == 303
    assert console.asked[0]["parameters"]["rung"] == "kill"


@pytest.mark.parametrize("token", ["", "wrong", "sämple"])
def test_a_form_of_another_session_does_nothing(client: TestClient, console: SampleConsole, token: str) -> None:
    """Without the session's token nothing is done, and what was typed is kept."""
    answer = client.post("/incidents/inc_000001/notes", data={**SEALED, "csrf": token, "text": "my long note"})

    assert answer.status_code == 409
    assert console.asked == []
    assert "my long note" in parse(answer.text).one("section", id="notes").one("textarea").text


@pytest.mark.parametrize(
    ("form", "fields", "command", "parameters"),
    [
        ("recover", {"reason": "ok"}, "approve_recovery", {"reason": "ok"}),
        ("release", {"agent": "refund-agent", "reason": "queue fixed"}, "release", {"reason": "queue fixed"}),
        ("disposition", {"disposition": "test", "reason": "a drill"}, "dispose", {"disposition": "test", "reason": "a drill"}),
        ("notes", {"text": " seen "}, "note", {"text": "seen"}),
        ("proposal", {"reason": "yes"}, "apply_proposal", {"reason": "yes"}),
        ("review", {"answer.guard": "no rule", "answer.why": ""}, "answer_review", {"answers": {"guard": "no rule"}}),
    ],
)
def test_each_form_is_its_command(
    client: TestClient, console: SampleConsole, form: str, fields: dict[str, str], command: str, parameters: dict[str, object]
) -> None:
    """Every form of the room becomes one command with what was typed."""
    answer = client.post(f"/incidents/inc_000001/{form}", data={**SEALED, **fields})

    assert answer.status_code == 303
    (asked,) = console.asked
    assert (asked["command"], asked["incident"], asked["parameters"]) == (command, "inc_000001", parameters)


@pytest.mark.parametrize(
    ("form", "fields", "said"),
    [
        ("contain", {"agent": "refund-agent", "rung": "sleep"}, "unknown rung"),
        ("contain", {"agent": "", "rung": "pause"}, "agent is empty"),
        ("release", {"agent": "refund-agent", "reason": " "}, "say why it is safe"),
        ("disposition", {"disposition": "nice", "reason": "x"}, ", ".join(Disposition)),
        ("notes", {"text": "x" * 4_001}, "shorten it to 4000"),
        ("review", {}, "no answer was changed"),
        ("review", {"answer.blast": f"order 8812 {BLANK}"}, "still has its blank"),
    ],
)
def test_bad_input_is_refused_with_a_remedy(
    client: TestClient, console: SampleConsole, form: str, fields: dict[str, str], said: str
) -> None:
    """What cannot be done is refused on the same page, with what to do instead."""
    answer = client.post(f"/incidents/inc_000001/{form}", data={**SEALED, **fields})

    assert answer.status_code == 422
    assert said in parse(answer.text).one("p", role="alert").text
    assert console.asked == []


def test_untouched_drafts_are_not_answers(client: TestClient, console: SampleConsole) -> None:
    """Only what a person changed is sent: a draft that is submitted as it was does not count as answered."""
    form = parse(client.get("/incidents/inc_000002").text).one("form", class_="review")
    drafted = form.fields()["answer.blast"].strip()
    answer = client.post(form.attributes["action"], data={**form.fields(), "answer.guard": "one\r\ntwo"})

    assert BLANK in drafted
    assert answer.status_code == 303
    assert console.asked[0]["parameters"] == {"answers": {"guard": "one\ntwo"}}


def test_the_server_refusing_is_shown(client: TestClient) -> None:
    """A conflict that the server finds is shown with its remedy, not swallowed."""
    answer = client.post("/incidents/inc_000001/contain", data={**SEALED, "agent": "router", "rung": "pause"})

    assert answer.status_code == 409
    assert "release it there first" in parse(answer.text).one("p", role="alert").text


def test_an_agent_can_be_stopped_from_the_fleet(client: TestClient, console: SampleConsole) -> None:
    """The fleet strip contains an agent without an incident."""
    answer = client.post("/agents/mailer/contain", data={**SEALED, "rung": "pause"})

    assert answer.status_code == 303
    assert (console.asked[0]["incident"], console.asked[0]["agent"]) == ("", "mailer")


def test_an_incident_can_be_declared(client: TestClient, console: SampleConsole) -> None:
    """The form of the Incidents page opens one by hand."""
    fields = {"title": "odd mails", "agent": "mailer", "severity": "high", "reason": "two customers called"}

    assert client.post("/incidents", data={**SEALED, **fields}).status_code == 303
    assert console.asked[0]["command"] == "declare"
    assert client.post("/incidents", data={**SEALED, **fields, "severity": "odd"}).status_code == 422


@pytest.mark.parametrize("path", ["/", "/incidents?state=all", "/incidents/inc_000001"])
def test_strangers_are_sent_to_sign_in_and_back(stranger: TestClient, path: str) -> None:
    """Without a session a page leads to the sign-in, which leads back to it."""
    answer = stranger.get(path)
    form = parse(stranger.get(answer.headers["location"]).text).one("form")

    assert answer.status_code == 303
    assert form.fields()["next"] == path


@pytest.mark.parametrize("path", ["/incidents/inc_000001/contain", "/agents/mailer/contain", "/incidents"])
def test_strangers_cannot_act(stranger: TestClient, console: SampleConsole, path: str) -> None:
    """Without a session no form does anything."""
    assert stranger.post(path, data={**SEALED, "agent": "mailer", "rung": "pause"}).headers["location"].startswith("/login")
    assert console.asked == []


@pytest.mark.parametrize("typed", ["good-code", "http://127.0.0.1:8420/login#code=good-code"])
def test_a_code_signs_in_once(stranger: TestClient, typed: str) -> None:
    """The code, alone or as the whole link, becomes a cookie out of reach of scripts; a second time it does not."""
    first = stranger.post("/login", data={"code": typed, "next": "/incidents"})
    again = stranger.post("/login", data={"code": typed})

    assert first.headers["location"] == "/incidents"
    assert f"{COOKIE}={GOOD_COOKIE}; HttpOnly; Path=/; SameSite=lax" in first.headers["set-cookie"]
    assert again.status_code == 403
    assert "not valid" in again.text


@pytest.mark.parametrize("elsewhere", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_signing_in_never_leads_elsewhere(stranger: TestClient, elsewhere: str) -> None:
    """A link to the sign-in cannot send people to another server."""
    assert stranger.post("/login", data={"code": "good-code", "next": elsewhere}).headers["location"] == "/"


def test_signing_out_ends_the_session(client: TestClient, console: SampleConsole) -> None:
    """Signing out tells the server and deletes the cookie; a forged form does neither."""
    client.post("/logout", data={"csrf": "forged"})
    assert console.forgotten == 0

    client.cookies.set(COOKIE, GOOD_COOKIE)
    answer = client.post("/logout", data={"csrf": CSRF})
    assert console.forgotten == 1
    assert "Max-Age=0" in answer.headers["set-cookie"]


def test_the_theme_is_rendered_by_the_server(client: TestClient) -> None:
    """A chosen theme is on the page itself, so that nothing flashes."""
    answer = client.post("/theme", data={"csrf": CSRF, "theme": "dark", "back": "/incidents"})

    assert answer.headers["location"] == "/incidents"
    assert parse(client.get("/incidents").text).one("html").attributes["data-theme"] == "dark"


def test_too_large_a_form_is_refused(client: TestClient, console: SampleConsole) -> None:
    """A body beyond the limit is not read, and nothing is done."""
    answer = client.post("/incidents/inc_000001/notes", data={**SEALED, "text": "x" * 300_000})

    assert answer.status_code == 409
    assert console.asked == []


@pytest.mark.parametrize(
    ("form", "typed", "command", "asked"),
    [
        ("merge", {"other": "inc_000002", "reason": "one cause"}, "merge", {"from": "inc_000002", "reason": "one cause"}),
        ("split", {"agent": "mail-agent", "reason": "two causes"}, "split", {"reason": "two causes"}),
        ("crew", {"role": "commander", "person": "mira"}, "assign", {"role": "commander", "person": "mira", "reason": ""}),
        ("acknowledge", {}, "acknowledge", {"note": ""}),
        ("stars", {"moment": "ab12"}, "star", {"moment": "ab12", "star": True}),
        ("stars", {"moment": "-ab12"}, "star", {"moment": "ab12", "star": False}),
    ],
)
def test_an_incident_is_shaped_with_plain_forms(
    client: TestClient, console: SampleConsole, form: str, typed: dict[str, str], command: str, asked: dict[str, object]
) -> None:
    """Merging, splitting, assigning and marking are one form post each, in the person's name."""
    answer = client.post(f"/incidents/inc_000003/{form}", data={**SEALED, **typed})

    assert answer.status_code == 303
    assert (console.asked[0]["command"], console.asked[0]["by"]) == (command, "person:mira")
    assert console.asked[0]["parameters"].items() >= asked.items()


@pytest.mark.parametrize(
    ("form", "typed"),
    [("merge", {"other": "inc_000002"}), ("split", {"agent": "a"}), ("crew", {"role": "boss"}), ("stars", {})],
)
def test_a_shape_that_is_not_said_fully_is_not_asked_for(
    client: TestClient, console: SampleConsole, form: str, typed: dict[str, str]
) -> None:
    """Without a reason, a known role or a moment nothing is done, and the page says what is missing."""
    answer = client.post(f"/incidents/inc_000003/{form}", data={**SEALED, **typed})

    assert answer.status_code == 422
    assert parse(answer.text).one("p", role="alert").text
    assert console.asked == []


def test_what_is_approved_is_shown_to_the_last_character(client: TestClient, console: SampleConsole) -> None:
    """Every part of the action is on the page as it is, and the form carries the digest of what was shown."""
    request = console.requests["apr_000002"]
    page = parse(client.get("/approvals/apr_000002").text)
    form = page.one("section", id="answer").one("form")

    assert request.action.arguments in page.one("dl", class_="whole").text
    assert form.fields()["digest"] == request.digest
    answer = client.post(form.attributes["action"], data={**form.fields(), "reason": "checked"})
    assert answer.status_code == 303
    asked = console.asked[0]
    assert (asked["command"], asked["by"]) == ("grant_approval", "person:mira")
    assert asked["parameters"] == {"request": request.id, "digest": request.digest, "reason": "checked"}


def test_what_cannot_be_shown_whole_can_only_be_denied(client: TestClient, console: SampleConsole) -> None:
    """There is no button to approve it, a forged form is refused, and denying works."""
    page = client.get("/approvals/apr_000003").text
    assert "It cannot be shown whole here" in page
    assert "Approve exactly this" not in page
    digest = console.requests["apr_000003"].digest
    forged = client.post("/approvals/apr_000003/grant", data={**SEALED, "digest": digest})
    assert (forged.status_code, console.asked) == (422, [])
    assert client.post("/approvals/apr_000003/deny", data=SEALED).status_code == 303
    assert console.asked[0]["command"] == "deny_approval"


def test_an_answer_needs_the_sessions_own_proof(client: TestClient, console: SampleConsole) -> None:
    """A form from elsewhere approves nothing."""
    digest = console.requests["apr_000001"].digest
    answer = client.post("/approvals/apr_000001/grant", data={**SEALED, "csrf": "forged", "digest": digest})
    assert (answer.status_code, console.asked) == (409, [])


def test_the_desk_lets_go_exactly_what_it_shows_and_only_for_who_may_approve(
    client: TestClient, console: SampleConsole
) -> None:
    """The form carries the ids and the digest of what is above it; a notice goes out in the words of the form."""
    assert not parse(client.get("/desk").text).all("form", action="/desk/release")
    console.approves = True
    page = parse(client.get("/desk").text)
    form = page.one("form", action="/desk/release")
    client.post("/desk/release", data={**form.fields(), "reason": "checked"})
    notice = page.one("form", action="/desk/send")
    client.post("/desk/send", data={**notice.fields(), "text": "In my words."})

    released, sent = console.asked
    assert released["command"] == "release_held"
    assert released["parameters"] == {"ids": ["eff_000001", "eff_000002"], "digest": "e" * 64, "reason": "checked"}
    assert (sent["command"], sent["incident"], sent["parameters"]["text"]) == ("send_statement", "inc_000001", "In my words.")
    assert client.post("/desk/release", data={**form.fields(), "csrf": "forged", "reason": "x"}).status_code == 409
    assert client.post("/desk/finish", data={**SEALED, "item": "hnd_000001"}).status_code == 422
