"""Who may do what, as data: every route of the server and every command of the engine, with what it needs.

A route that is not here keeps the server from starting; a command that is not here is an administrator's. `gate.py` and
`Control.ask` enforce it, each in one place: handlers need not ask again. What the roles are good for is in `kernel/access.py`.
"""

from enum import StrEnum

from andoncord.kernel.access import Scope


class Need(StrEnum):
    """What a route needs in place of a scope."""

    NOTHING = "nothing"
    """Anybody may ask: signing in, probes, static files."""
    GUARD = "guard"
    """A token of scope `agent`; which agents it covers is looked at where the agent is named."""
    SIGNATURE = "signature"
    """The secret of the source that is named."""


_A = "/api/v1"
_I = "/api/v1/incidents/{incident}"
_F = "/api/v1/fleet/{agent:path}"
_G = "/api/v1/guards"

API: dict[str, Scope | Need] = {
    f"GET {_A}/agents": Scope.READ,
    f"POST {_A}/agents/{{agent}}/evidence": Scope.RESPOND,
    f"POST {_A}/agents/{{agent}}/orders": Scope.RESPOND,
    f"GET {_A}/approvals": Scope.READ,
    f"POST {_A}/approvals": Need.GUARD,
    f"GET {_A}/approvals/{{request_id}}": Scope.READ,
    f"POST {_A}/approvals/{{request_id}}/deny": Scope.APPROVE,
    f"POST {_A}/approvals/{{request_id}}/grant": Scope.APPROVE,
    f"GET {_A}/audit": Scope.ADMIN,
    f"GET {_A}/breakers": Scope.READ,
    f"GET {_A}/budgets": Scope.READ,
    f"GET {_A}/canaries": Scope.READ,
    f"POST {_A}/canaries/{{name}}": Scope.RESPOND,
    f"GET {_A}/deploy-gate": Scope.READ,
    f"GET {_A}/evaluators": Scope.READ,
    f"GET {_A}/events": Scope.READ,
    f"GET {_A}/fallbacks": Scope.READ,
    f"GET {_A}/fleet": Scope.READ,
    f"POST {_A}/fleet/orders": Scope.RESPOND,
    f"GET {_F}": Scope.READ,
    f"GET {_F}/runs": Scope.READ,
    f"GET {_F}/series": Scope.READ,
    f"GET {_F}/touched": Scope.READ,
    f"POST {_G}": Need.GUARD,
    f"DELETE {_G}/{{guard_id}}": Need.GUARD,
    f"POST {_G}/{{guard_id}}/acks": Need.GUARD,
    f"GET {_G}/{{guard_id}}/config": Need.GUARD,
    f"POST {_G}/{{guard_id}}/lease": Need.GUARD,
    f"GET {_G}/{{guard_id}}/orders": Need.GUARD,
    f"POST {_G}/{{guard_id}}/report": Need.GUARD,
    f"GET {_A}/handover": Scope.READ,
    f"POST {_A}/handover": Need.GUARD,
    f"POST {_A}/handover/look": Need.GUARD,
    f"GET {_A}/handover/{{item}}": Scope.READ,
    f"POST {_A}/handover/{{item}}/close": Scope.RESPOND,
    f"POST {_A}/handover/{{item}}/finish": Scope.RESPOND,
    f"POST {_A}/handover/{{item}}/return": Scope.RESPOND,
    f"POST {_A}/handover/{{item}}/take": Scope.RESPOND,
    f"GET {_A}/health": Scope.READ,
    f"GET {_A}/held": Scope.READ,
    f"POST {_A}/held": Need.GUARD,
    f"POST {_A}/held/discard": Scope.APPROVE,
    f"POST {_A}/held/release": Scope.APPROVE,
    f"GET {_A}/incidents": Scope.READ,
    f"POST {_A}/incidents": Scope.RESPOND,
    f"GET {_I}": Scope.READ,
    f"POST {_I}/acknowledge": Scope.RESPOND,
    f"POST {_I}/answers": Scope.RESPOND,
    f"POST {_I}/containments": Scope.RESPOND,
    f"POST {_I}/crew": Scope.RESPOND,
    f"GET {_I}/deliveries": Scope.READ,
    f"POST {_I}/disposition": Scope.RESPOND,
    f"GET {_I}/evidence": Scope.READ,
    f"GET {_I}/evidence/{{intent}}/archive": Scope.RESPOND,
    f"POST {_I}/merge": Scope.RESPOND,
    f"POST {_I}/notes": Scope.RESPOND,
    f"GET {_I}/notices": Scope.READ,
    f"POST {_I}/notices/{{draft}}/reject": Scope.RESPOND,
    f"POST {_I}/notices/{{draft}}/send": Scope.APPROVE,
    f"GET {_I}/playbook": Scope.READ,
    f"POST {_I}/playbook/cancel": Scope.RESPOND,
    f"POST {_I}/playbook/fork": Scope.RESPOND,
    f"POST {_I}/proposal/apply": Scope.RESPOND,
    f"GET {_I}/receipts/{{intent}}": Scope.READ,
    f"POST {_I}/recoveries": Scope.RESPOND,
    f"POST {_I}/release": Scope.RESPOND,
    f"GET {_I}/review": Scope.READ,
    f"POST {_I}/review": Scope.RESPOND,
    f"POST {_I}/split": Scope.RESPOND,
    f"POST {_I}/stars": Scope.RESPOND,
    f"GET {_I}/tickets": Scope.READ,
    f"POST {_I}/tickets": Scope.RESPOND,
    f"POST {_I}/undo": Scope.RESPOND,
    f"GET {_A}/journal": Scope.READ,
    f"GET {_A}/influence": Scope.READ,
    f"GET {_A}/kpis": Scope.READ,
    f"GET {_A}/ledger": Scope.READ,
    f"POST {_A}/login-codes": Scope.ADMIN,
    f"GET {_A}/me": Scope.READ,
    f"GET {_A}/oncall": Scope.READ,
    f"POST {_A}/oncall/test": Scope.RESPOND,
    f"GET {_A}/orders": Scope.READ,
    f"POST {_A}/orders": Scope.RESPOND,
    f"POST {_A}/orders/{{order_id}}/lift": Scope.RESPOND,
    f"GET {_A}/overdue": Scope.READ,
    f"GET {_A}/playbooks": Scope.READ,
    f"GET {_A}/playbooks/history": Scope.READ,
    f"GET {_A}/policies": Scope.READ,
    f"GET {_A}/predictions": Scope.READ,
    f"GET {_A}/quality": Scope.READ,
    f"POST {_A}/registry/{{agent}}/active": Scope.RESPOND,
    f"GET {_A}/registry/{{agent}}/versions": Scope.READ,
    f"POST {_A}/registry/{{agent}}/versions": Scope.RESPOND,
    f"POST {_A}/rules/backtest": Scope.READ,
    f"GET {_A}/rules/records": Scope.READ,
    f"POST {_A}/sources/{{source}}/alerts": Need.SIGNATURE,
    f"POST {_A}/sources/{{source}}/events": Need.SIGNATURE,
    f"GET {_A}/stream": Scope.READ,
    f"GET {_A}/taint": Scope.READ,
    f"GET {_A}/tokens": Scope.ADMIN,
    f"POST {_A}/tokens": Scope.ADMIN,
    f"DELETE {_A}/tokens/{{token_id}}": Scope.ADMIN,
    f"GET {_A}/traces/{{trace_id}}": Scope.READ,
    f"GET {_A}/traces/{{trace_id}}/touched": Scope.READ,
    f"GET {_A}/traces/{{trace_id}}/transcript": Scope.READ,
    f"GET {_A}/trackers": Scope.READ,
    f"POST {_A}/trackers/{{tracker}}/check": Scope.RESPOND,
    f"GET {_A}/users": Scope.ADMIN,
    f"POST {_A}/users": Scope.ADMIN,
    f"POST {_A}/users/{{name}}/disable": Scope.ADMIN,
    f"POST {_A}/users/{{name}}/enable": Scope.ADMIN,
    f"POST {_A}/users/{{name}}/password": Scope.ADMIN,
    f"POST {_A}/users/{{name}}/role": Scope.ADMIN,
    "GET /livez": Need.NOTHING,
    "GET /metrics": Scope.READ,
    "GET /readyz": Need.NOTHING,
}
"""What programs and the command line ask."""

CONSOLE: dict[str, Scope | Need] = {
    "GET /": Scope.READ,
    "GET /account": Scope.READ,
    "POST /account": Scope.READ,
    "POST /agents/{agent}/contain": Scope.RESPOND,
    "GET /approvals": Scope.READ,
    "GET /approvals/{request_id}": Scope.READ,
    "POST /approvals/{request_id}/{form}": Scope.APPROVE,
    "GET /audit": Scope.ADMIN,
    "GET /desk": Scope.READ,
    "POST /desk/{form}": Scope.READ,
    "GET /fleet": Scope.READ,
    "GET /fleet/{agent:path}": Scope.READ,
    "GET /incidents": Scope.READ,
    "POST /incidents": Scope.RESPOND,
    "GET /incidents/{incident}": Scope.READ,
    "POST /incidents/{incident}/{form}": Scope.RESPOND,
    "GET /login": Need.NOTHING,
    "POST /login": Need.NOTHING,
    "GET /login/provider": Need.NOTHING,
    "GET /login/provider/callback": Need.NOTHING,
    "POST /logout": Need.NOTHING,
    "GET /spread": Scope.READ,
    "GET /static/{name}": Need.NOTHING,
    "POST /theme": Need.NOTHING,
    "GET /traces/{trace_id}": Scope.READ,
}
"""What browsers ask. Without a session they are led to the sign-in; every form also carries the session's own proof."""

ROUTES = {**API, **CONSOLE}

COMMANDS: dict[str, Scope] = {
    "declare": Scope.RESPOND,
    "contain": Scope.RESPOND,
    "contain_fleet": Scope.RESPOND,
    "release": Scope.RESPOND,
    "order": Scope.RESPOND,
    "lift": Scope.RESPOND,
    "approve_recovery": Scope.RESPOND,
    "undo": Scope.RESPOND,
    "cancel_step": Scope.RESPOND,
    "fork_playbook": Scope.RESPOND,
    "dispose": Scope.RESPOND,
    "note": Scope.RESPOND,
    "merge": Scope.RESPOND,
    "split": Scope.RESPOND,
    "assign": Scope.RESPOND,
    "star": Scope.RESPOND,
    "acknowledge": Scope.RESPOND,
    "open_ticket": Scope.RESPOND,
    "capture": Scope.RESPOND,
    "take_handover": Scope.RESPOND,
    "finish_handover": Scope.RESPOND,
    "return_handover": Scope.RESPOND,
    "close_handover": Scope.RESPOND,
    "release_held": Scope.APPROVE,
    "discard_held": Scope.APPROVE,
    "send_statement": Scope.APPROVE,
    "reject_statement": Scope.RESPOND,
    "answer_ask": Scope.RESPOND,
    "grant_approval": Scope.APPROVE,
    "deny_approval": Scope.APPROVE,
    "apply_proposal": Scope.RESPOND,
    "activate_policy": Scope.ADMIN,
    "answer_review": Scope.RESPOND,
    "publish_version": Scope.RESPOND,
    "activate_version": Scope.RESPOND,
    "mark_version": Scope.RESPOND,
}


def needed_for(command: str) -> Scope:
    """What a command needs; an unknown one needs an administrator.

    >>> needed_for("grant_approval"), needed_for("something new")
    (<Scope.APPROVE: 'approve'>, <Scope.ADMIN: 'admin'>)
    """
    return COMMANDS.get(command, Scope.ADMIN)
