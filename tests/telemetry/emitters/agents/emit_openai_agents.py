"""The OpenAI Agents SDK under one of two instrumentations: `openinference` or `openllmetry`."""

import sys
from pathlib import Path

import story
from agents import Agent, OpenAIResponsesModel, Runner, function_tool
from capture import provider, write
from openai import AsyncOpenAI
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

dialect, target = sys.argv[1], Path(sys.argv[2])
exporter = InMemorySpanExporter()
tracing = provider(exporter, "orders-service")
if dialect == "openinference":
    from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor
else:
    from opentelemetry.instrumentation.openai_agents import OpenAIAgentsInstrumentor
OpenAIAgentsInstrumentor().instrument(tracer_provider=tracing)

client = AsyncOpenAI(base_url=story.serve(), api_key="none")
agent = Agent(
    name=story.AGENT,
    instructions=story.INSTRUCTIONS,
    model=OpenAIResponsesModel(model=story.MODEL, openai_client=client),
    tools=[function_tool(story.lookup_order), function_tool(story.refund_order)],
)
Runner.run_sync(agent, story.QUESTION)
write(exporter, target)
