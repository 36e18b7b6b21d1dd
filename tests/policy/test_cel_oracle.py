"""Conditions against Google's CEL: wherever our closures answer, CEL gives the same answer."""

from typing import Any

from cel_expr_python import cel
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from andoncord.policy.expression import Tree, parse
from andoncord_sdk.explain import render
from andoncord_sdk.expression import ExpressionError, compile_condition

ENVIRONMENT = cel.NewEnv(variables={"args": cel.Type.DYN, "agent": cel.Type.STRING})
PATTERNS = ("^a+b?$", r"[0-9]{2,}", r"\bpay", "(x|yz)*q", "é.")

texts = st.text(alphabet='abpqxyz0129 é/."\\\n', max_size=6)
whole = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)
finite = st.floats(-1e6, 1e6).map(lambda value: round(value, 3)) | st.just(0.5)


def const(value: Any) -> Tree:
    return {"op": "const", "value": value}


def field(name: str) -> Tree:
    return {"op": "field", "of": {"op": "name", "name": "args"}, "name": name}


def binary(ops: list[str], left: st.SearchStrategy[Tree], right: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    return st.builds(lambda op, *args: {"op": op, "args": list(args)}, st.sampled_from(ops), left, right)


def call(names: list[str], *args: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    return st.builds(lambda name, *args: {"op": "call", "function": name, "args": list(args)}, st.sampled_from(names), *args)


# `i` and `j` are whole, `f` is not, `s` and `t` are text, `m` is a map, `l` a list of whole numbers; `gone` is not there.
# Whole numbers and others are compared but not added: there CEL refuses what JSON cannot tell apart, and ours does not.
text = st.sampled_from([field("s"), field("t"), {"op": "name", "name": "agent"}, field("gone")]) | texts.map(const)
simple_number = st.sampled_from([field("i"), field("j"), field("gone")]) | whole.map(const)
number = st.recursive(
    simple_number | call(["size"], text),
    lambda inner: binary(["+", "-", "*"], inner, inner) | st.builds(lambda of: {"op": "neg", "of": of}, inner),
    max_leaves=4,
)
anything = st.one_of(text, number, st.sampled_from([const(None), const(True), field("l"), field("m"), field("f")]))
lists = st.lists(number, max_size=3).map(lambda items: {"op": "list", "items": items}) | st.just(field("l"))
order = ["<", "<=", ">", ">=", "==", "!="]
leaf = st.one_of(
    binary(order, number, number),
    binary(order, st.sampled_from([field("i"), field("f")]), finite.map(const)),
    binary(order, text, text),
    binary(["==", "!="], anything, anything),
    binary(["in"], number, lists),
    binary(["in"], texts.map(const), st.just(field("m"))),
    call(["startsWith", "endsWith", "contains"], text, text),
    call(["matches"], text, st.sampled_from(PATTERNS).map(const)),
    call(["has"], st.sampled_from(["s", "gone"]).map(field)),
    st.booleans().map(const),
)
conditions = st.recursive(
    leaf,
    lambda inner: (
        st.builds(
            lambda op, args: {"op": op, "args": args}, st.sampled_from(["&&", "||"]), st.lists(inner, min_size=2, max_size=3)
        )
        | st.builds(lambda of: {"op": "!", "of": of}, inner)
    ),
    max_leaves=6,
)
arguments = st.fixed_dictionaries(
    {"i": whole, "j": whole, "f": finite, "s": texts, "t": texts, "l": st.lists(whole, max_size=3)},
    optional={"m": st.dictionaries(texts, whole, max_size=3)},
)


def test_cel_gives_the_same_answers() -> None:
    """Every answer of ours is CEL's answer; where ours is an error CEL may be more lenient, never the other way round.

    Not compared: what CEL refuses before it has seen a value, such as comparing a number literal with a text literal.
    """
    compared: list[bool] = []

    @settings(max_examples=300, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(conditions, arguments, texts)
    def agree(tree: Tree, args: dict[str, Any], agent: str) -> None:
        source = render(tree)
        try:
            ours = compile_condition(parse(source, place="generated"))({"args": args, "agent": agent})
            program = ENVIRONMENT.compile(source)
        except (ExpressionError, RuntimeError):
            compared.append(False)
            return
        compared.append(True)
        theirs = program.eval(data={"args": args, "agent": agent})
        assert theirs.value() is ours, source

    agree()
    assert sum(compared) > len(compared) / 3
