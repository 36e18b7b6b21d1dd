"""Telemetry as a busy fleet sends it, for every benchmark that takes it in: 512 GenAI spans a request, lean or with content."""

import random
from collections.abc import Iterator

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

SPANS = 512
"""Spans in one request: the default of the OpenTelemetry SDK's batch exporter."""
AGENTS = 20
TURNS = 15
"""Model calls of one run, each with a tool call after it: with the agent's own span a run has 31."""
PROMPT_CHARS = 1_350
ANSWER_CHARS = 400
RESULT_CHARS = 160
"""With these a span with content is 1.5 kB on average, as observed with content capture on; without them it is 0.5 kB."""
PERSONAL_EVERY = 8
"""With content, one run in so many is about a customer whose address stands in its texts."""
STEP_NS = 40_000_000

_TOOLS = (
    "orders.lookup",
    "orders.refund",
    "mail.send",
    "crm.search",
    "kb.search",
    "calendar.book",
    "invoice.read",
    "stock.count",
)
_CONSONANTS, _VOWELS = "bcdfghklmnprstv", "aeiou"


class Load:
    """Makes requests, each with traces of its own; equal seeds make equal texts.

    Args:
        has_content: whether prompts, answers, arguments and results are sent along.
    """

    def __init__(self, *, has_content: bool, seed: int = 7) -> None:
        self._has_content = has_content
        self._chance = random.Random(seed)
        self._words = tuple(self._word() for _ in range(3_000))
        self._text = " ".join(self._chance.choices(self._words, k=40_000))

    def requests(self, count: int, *, first: int = 0, start_ns: int) -> Iterator[bytes]:
        """`count` requests in protobuf; `first` is the number of the first, which its ids are made from."""
        for number in range(first, first + count):
            yield self.request(number, start_ns)

    def request(self, number: int, start_ns: int) -> bytes:
        """One export of 512 spans, of one process."""
        export = ExportTraceServiceRequest()
        resource = export.resource_spans.add()
        resource.resource.attributes.extend(
            (
                text("service.name", "support-desk"),
                text("service.instance.id", f"desk-{number % 4}"),
                text("telemetry.sdk.language", "python"),
                text("telemetry.sdk.version", "1.39.0"),
            )
        )
        scope = resource.scope_spans.add()
        scope.scope.name = "opentelemetry.instrumentation.genai"
        place = 0
        while place < SPANS:
            place += self._run(scope.spans, number, place, start_ns)
        return export.SerializeToString()

    def _run(self, spans: "object", number: int, first: int, start_ns: int) -> int:
        """The spans of one run, in the order in which they end: the agent's own comes last. How many there are."""
        run = number * SPANS + first
        agent = f"agent-{run * 7919 % AGENTS}"
        session = f"session-{run}"
        trace_id = (run + 1).to_bytes(16, "big")
        root_id = (run + 1).to_bytes(8, "big")
        who = ""
        if self._has_content and (run // (2 * TURNS)) % PERSONAL_EVERY == 0:
            who = f" My address is customer.{run}@mail.example.org, please answer there."
        at_ns = start_ns
        count = 0
        for turn in range(min(2 * TURNS, SPANS - first - 1)):
            span = spans.add()  # type: ignore[attr-defined]
            self._begin(span, trace_id, run + count + 2, root_id, at_ns)
            if turn % 2 == 0:
                self._model(span, agent, session, turn, who)
            else:
                self._tool(span, agent, session, run, turn)
            at_ns += STEP_NS
            count += 1
        span = spans.add()  # type: ignore[attr-defined]
        self._begin(span, trace_id, run + 1, b"", start_ns)
        span.end_time_unix_nano = at_ns
        span.name = f"invoke_agent {agent}"
        span.attributes.extend(
            (
                text("gen_ai.operation.name", "invoke_agent"),
                text("gen_ai.provider.name", "openai"),
                text("gen_ai.agent.name", agent),
                text("gen_ai.agent.id", f"asst_{agent}"),
                text("gen_ai.conversation.id", session),
                text("gen_ai.request.model", "gpt-4.1-mini"),
                whole("gen_ai.usage.input_tokens", 900 * TURNS),
                whole("gen_ai.usage.output_tokens", 120 * TURNS),
            )
        )
        return count + 1

    @staticmethod
    def _begin(span: Span, trace_id: bytes, span_number: int, parent: bytes, at_ns: int) -> None:
        span.trace_id, span.span_id, span.parent_span_id = trace_id, span_number.to_bytes(8, "big"), parent
        span.kind = Span.SPAN_KIND_CLIENT
        span.start_time_unix_nano, span.end_time_unix_nano = at_ns, at_ns + STEP_NS - 1_000_000

    def _model(self, span: Span, agent: str, session: str, turn: int, who: str) -> None:
        span.name = "chat gpt-4.1-mini"
        span.attributes.extend(
            (
                text("gen_ai.operation.name", "chat"),
                text("gen_ai.provider.name", "openai"),
                text("gen_ai.request.model", "gpt-4.1-mini"),
                text("gen_ai.response.model", "gpt-4.1-mini-2025-04-14"),
                text("gen_ai.response.id", f"chatcmpl-{session}-{turn}"),
                text("gen_ai.conversation.id", session),
                text("gen_ai.agent.name", agent),
                text("gen_ai.output.type", "text"),
                text("server.address", "api.openai.com"),
                whole("server.port", 443),
                whole("gen_ai.request.max_tokens", 1_024),
                whole("gen_ai.usage.input_tokens", 900 + turn),
                whole("gen_ai.usage.output_tokens", 120),
                whole("gen_ai.usage.cache_read.input_tokens", 512),
            )
        )
        span.attributes.append(_number("gen_ai.request.temperature", 0.2))
        span.attributes.append(_texts("gen_ai.response.finish_reasons", "tool_calls"))
        if self._has_content:
            prompt, answer = self._some(PROMPT_CHARS), self._some(ANSWER_CHARS)
            span.attributes.extend(
                (
                    text(
                        "gen_ai.system_instructions", '[{"type":"text","content":"You answer customers of a shop. Be brief."}]'
                    ),
                    text("gen_ai.input.messages", f'[{{"role":"user","parts":[{{"type":"text","content":"{prompt}{who}"}}]}}]'),
                    text(
                        "gen_ai.output.messages", f'[{{"role":"assistant","parts":[{{"type":"text","content":"{answer}"}}]}}]'
                    ),
                )
            )

    def _tool(self, span: Span, agent: str, session: str, run: int, turn: int) -> None:
        tool = _TOOLS[(run + turn) % len(_TOOLS)]
        span.name = f"execute_tool {tool}"
        span.attributes.extend(
            (
                text("gen_ai.operation.name", "execute_tool"),
                text("gen_ai.provider.name", "openai"),
                text("gen_ai.tool.name", tool),
                text("gen_ai.tool.type", "function"),
                text("gen_ai.tool.call.id", f"call_{run}_{turn}"),
                text("gen_ai.tool.description", "Looks into the shop."),
                text("gen_ai.agent.name", agent),
                text("gen_ai.conversation.id", session),
            )
        )
        if self._has_content:
            state = self._some(RESULT_CHARS)
            span.attributes.extend(
                (
                    text("gen_ai.tool.call.arguments", f'{{"order_id":"{run}-{turn}","reason":"{self._some(60)}"}}'),
                    text("gen_ai.tool.call.result", f'{{"state":"paid","amount":{turn},"note":"{state}"}}'),
                )
            )

    def _word(self) -> str:
        syllables = range(self._chance.randint(1, 4))
        return "".join(self._chance.choice(_CONSONANTS) + self._chance.choice(_VOWELS) for _ in syllables)

    def _some(self, chars: int) -> str:
        """A piece of running text."""
        start = self._chance.randrange(len(self._text) - chars)
        return self._text[start : start + chars]


def text(key: str, value: str) -> KeyValue:
    """An attribute."""
    attribute = KeyValue(key=key)
    attribute.value.string_value = value
    return attribute


def whole(key: str, value: int) -> KeyValue:
    """An attribute that is a whole number."""
    attribute = KeyValue(key=key)
    attribute.value.int_value = value
    return attribute


def _number(key: str, value: float) -> KeyValue:
    attribute = KeyValue(key=key)
    attribute.value.double_value = value
    return attribute


def _texts(key: str, *values: str) -> KeyValue:
    attribute = KeyValue(key=key)
    for value in values:
        attribute.value.array_value.values.add().string_value = value
    return attribute
