"""Servers of this machine that behave like trackers: GitHub, Jira, and whoever receives signed webhooks."""

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from andoncord.testing.tracker_contract import TOKEN, Kept


class Fault(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers or {}


class World:
    """What all of them share: scripted answers, a count of what strayed, and the requests that came."""

    def __init__(self) -> None:
        self.url = ""
        self.strayed = 0
        self.requests: list[str] = []
        self._next: list[tuple[int, dict[str, str], str, bool]] = []

    def answer_next(self, status: int, headers: dict[str, str] | None = None, *, said: str = "", after: bool = False) -> None:
        self._next.append((status, headers or {}, said, after))

    def serve(
        self, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: Any
    ) -> tuple[int, dict[str, str], Any]:
        self.requests.append(f"{method} {path}")
        if path == "/strayed":
            self.strayed += 1
        fault = self._next.pop(0) if self._next and self.changes(method, path) else None
        try:
            if fault and not fault[3]:
                raise Fault(fault[0], self.error(fault[2]), fault[1])
            answer = self.answer(method, path, query, headers, body)
        except Fault as said:
            return said.status, said.headers, said.body
        return (fault[0], fault[1], self.error(fault[2])) if fault else answer

    def changes(self, method: str, path: str) -> bool:
        return method != "GET"

    def error(self, said: str) -> Any:
        return {"message": said}

    def answer(
        self, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: Any
    ) -> tuple[int, dict[str, str], Any]:
        raise NotImplementedError


class GitHub(World):
    """Issues of `acme/ops`, thirty a page unless more are asked for, with `Link` headers."""

    def __init__(self) -> None:
        super().__init__()
        self.issues: list[dict[str, Any]] = []
        self.hidden_for = 0
        """So many lists leave the newest issue out."""

    def tickets(self) -> list[Kept]:
        return [
            Kept(
                id=str(each["number"]),
                title=each["title"],
                text=each["body"],
                comments=tuple(comment["body"] for comment in each["comments"]),
                is_closed=each["state"] == "closed",
            )
            for each in self.issues
            if each["title"] != "other"
        ]

    def fill(self, count: int) -> None:
        for number in range(count):
            self._add({"title": "other", "body": "text\nandoncord-of-somebody", "pull_request": {} if number % 2 else None})

    def _add(self, given: dict[str, Any]) -> dict[str, Any]:
        number = len(self.issues) + 1
        url = f"{self.url}/acme/ops/issues/{number}"
        self.issues.append({"number": number, "html_url": url, "state": "open", "comments": [], **given})
        return self.issues[-1]

    def answer(
        self, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: Any
    ) -> tuple[int, dict[str, str], Any]:
        if headers.get("authorization") != f"Bearer {TOKEN}":
            raise Fault(401, {"message": "Bad credentials"})
        if not path.startswith("/repos/acme/ops/issues"):
            raise Fault(404, {"message": "Not Found"})
        rest = path.removeprefix("/repos/acme/ops/issues").strip("/").split("/")
        if rest == [""]:
            if method == "POST":
                if not body.get("title"):
                    raise Fault(422, {"message": "Validation Failed", "errors": [{"field": "title", "code": "missing_field"}]})
                return 201, {}, _without_comments(self._add(body))
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", query.get("since", "2026-01-01T00:00:00Z"))
            newest = self.issues[::-1]
            if self.hidden_for and len(newest):
                self.hidden_for, newest = self.hidden_for - 1, newest[1:]
            return self._page(newest, query)
        issue = self.issues[int(rest[0]) - 1]
        if rest[1:] == ["comments"]:
            if method == "GET":
                return self._page(issue["comments"], query)
            issue["comments"].append({"body": body["body"]})
            return 201, {}, {"id": 1}
        assert method == "PATCH"
        issue.update(body)
        return 200, {}, _without_comments(issue)

    def _page(self, items: list[dict[str, Any]], query: dict[str, str]) -> tuple[int, dict[str, str], Any]:
        size, page = min(100, int(query.get("per_page", "30"))), int(query.get("page", "1"))
        shown = [_without_comments(each) for each in items[(page - 1) * size : page * size]]
        more = f'<https://elsewhere.example/x?per_page={size}&page={page + 1}>; rel="next"' if len(items) > page * size else ""
        return 200, {"Link": more} if more else {}, shown


def _without_comments(issue: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in issue.items() if name != "comments"}


class Jira(World):
    """Issues of the project OPS, found by the token of the next page, with a workflow that ends in `Done`."""

    PAGE = 50

    def __init__(self) -> None:
        super().__init__()
        self.issues: list[dict[str, Any]] = []

    def error(self, said: str) -> Any:
        return {"errorMessages": [said], "errors": {}}

    def changes(self, method: str, path: str) -> bool:
        return method != "GET" and not path.endswith("/search/jql")

    def tickets(self) -> list[Kept]:
        return [
            Kept(
                id=each["key"],
                title=each["fields"]["summary"],
                text=_plain(each["fields"]["description"]),
                comments=tuple(_plain(comment["body"]) for comment in each["comments"]),
                is_closed=each["status"] == "done",
            )
            for each in self.issues
            if each["fields"]["summary"] != "other"
        ]

    def fill(self, count: int) -> None:
        labels = [label for each in self.issues for label in each["fields"]["labels"]]
        for _ in range(count):
            fields = {"summary": "other", "labels": [f"{label}-not" for label in labels], "description": {}}
            self.issues.insert(0, {"key": f"OPS-{len(self.issues) + 1}", "fields": fields, "comments": [], "status": "new"})

    def answer(
        self, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: Any
    ) -> tuple[int, dict[str, str], Any]:
        if not headers.get("authorization", "").startswith("Basic "):
            raise Fault(401, "")
        rest = path.removeprefix("/rest/api/3/").split("/")
        match method, rest:
            case "POST", ["search", "jql"]:
                label = re.fullmatch(r'project = "OPS" AND labels = "([^"]+)" ORDER BY created ASC', body["jql"])
                assert label is not None
                # An index that also brings what it should not: whoever asks has to look at the label.
                near = [each for each in self.issues if any(label[1] in known for known in each["fields"]["labels"])]
                start = int(body.get("nextPageToken", "0"))
                shown = [{"key": each["key"], "fields": {"labels": each["fields"]["labels"]}} for each in near]
                more = {"nextPageToken": str(start + self.PAGE)} if len(near) > start + self.PAGE else {}
                return 200, {}, {"issues": shown[start : start + self.PAGE], "isLast": not more, **more}
            case "POST", ["issue"]:
                assert all(" " not in label for label in body["fields"]["labels"])
                key = f"OPS-{len(self.issues) + 1}"
                self.issues.append({"key": key, "fields": body["fields"], "comments": [], "status": "new"})
                return 201, {}, {"id": "10000", "key": key, "self": f"{self.url}/rest/api/3/issue/10000"}
            case "GET", ["project", "OPS"]:
                return 200, {}, {"key": "OPS"}
            case _, ["issue", key, *more]:
                return self._issue(method, key, more, query, body)
        raise Fault(404, self.error("no such thing"))

    def _issue(
        self, method: str, key: str, more: list[str], query: dict[str, str], body: Any
    ) -> tuple[int, dict[str, str], Any]:
        issue = next(each for each in self.issues if each["key"] == key)
        match method, more:
            case "GET", []:
                return 200, {}, {"key": key, "fields": {"status": {"statusCategory": {"key": issue["status"]}}}}
            case "GET", ["comment"]:
                start, comments = int(query["startAt"]), issue["comments"]
                return 200, {}, {"comments": comments[start : start + self.PAGE], "total": len(comments)}
            case "POST", ["comment"]:
                issue["comments"].append({"body": body["body"]})
                return 201, {}, {"id": "1"}
            case "GET", ["transitions"]:
                ways = [
                    {"id": "11", "to": {"statusCategory": {"key": "indeterminate"}}},
                    {"id": "31", "to": {"statusCategory": {"key": "done"}}},
                ]
                return 200, {}, {"transitions": ways}
            case "POST", ["transitions"]:
                assert body == {"transition": {"id": "31"}}
                issue["status"] = "done"
                return 204, {}, None
        raise Fault(404, self.error("no such thing"))


def _plain(node: Any) -> str:
    if isinstance(node, dict):
        return str(node.get("text", "")) + "\n".join(_plain(each) for each in node.get("content", ()))
    return ""


class Desk(World):
    """Somebody's own tracker behind signed webhooks: it knows a repetition by `webhook-id`."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[str, Any] = {}
        self.kept: list[dict[str, Any]] = []

    def tickets(self) -> list[Kept]:
        return [Kept(**{**each, "comments": tuple(each["comments"])}) for each in self.kept]

    def fill(self, count: int) -> None:
        """Nobody else uses it."""

    def answer(
        self, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: Any
    ) -> tuple[int, dict[str, str], Any]:
        number = headers["webhook-id"]
        if number in self.known:
            return 200, {}, self.known[number]
        told = body["data"]
        if body["type"] == "org.andoncord.ticket.opened":
            ticket = f"D-{len(self.kept) + 1}"
            shown = "\n".join(told["lines"])
            self.kept.append({"id": ticket, "title": told["title"], "text": shown, "comments": [], "is_closed": False})
            self.known[number] = {"id": ticket, "url": f"{self.url}/{ticket}"}
        elif body["type"] == "org.andoncord.ticket.resolved":
            each = next(each for each in self.kept if each["id"] == told["ticket"])
            each["comments"].append("over")
            each["is_closed"] = True
            self.known[number] = {}
        return 200, {}, self.known.get(number, {})


@contextlib.contextmanager
def serving(world: World) -> Iterator[None]:
    """An HTTP server in front of a world while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            parts = urlsplit(self.path)
            raw = self.rfile.read(int(self.headers.get("content-length", 0)))
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, more, body = world.serve(self.command, parts.path, query, headers, json.loads(raw) if raw else None)
            content = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {**more, "content-length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = _serve  # noqa: N815

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    world.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
