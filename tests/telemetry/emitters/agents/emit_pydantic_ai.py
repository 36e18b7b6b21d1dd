"""PydanticAI, instrumented by itself."""

import sys
from pathlib import Path

import story
from capture import provider, write
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic_ai import Agent, ModelRetry
from pydantic_ai.capabilities import Instrumentation
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

exporter = InMemorySpanExporter()
settings = InstrumentationSettings(tracer_provider=provider(exporter, "orders-service"))
model = OpenAIChatModel(story.MODEL, provider=OpenAIProvider(base_url=story.serve(), api_key="none"))


def refund_order(order: str) -> str:
    """Refund an order."""
    try:
        return story.refund_order(order)
    except story.RefundRefused as refused:
        raise ModelRetry(str(refused)) from refused


agent = Agent(
    model,
    name=story.AGENT,
    instructions=story.INSTRUCTIONS,
    tools=[story.lookup_order, refund_order],
    capabilities=[Instrumentation(settings=settings)],
)
agent.run_sync(story.QUESTION)
write(exporter, Path(sys.argv[2]))
