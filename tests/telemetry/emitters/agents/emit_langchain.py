"""LangChain's agent under one of two instrumentations: `openinference` or `openllmetry`."""

import sys
from pathlib import Path

import story
from capture import provider, write
from langchain.agents import create_agent
from langchain.agents.middleware import wrap_tool_call
from langchain_core.messages import ToolMessage
from langchain_openai import ChatOpenAI
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

dialect, target = sys.argv[1], Path(sys.argv[2])
exporter = InMemorySpanExporter()
tracing = provider(exporter, "orders-service")
if dialect == "openinference":
    from openinference.instrumentation.langchain import LangChainInstrumentor
else:
    from opentelemetry.instrumentation.langchain import LangchainInstrumentor as LangChainInstrumentor
LangChainInstrumentor().instrument(tracer_provider=tracing)

model = ChatOpenAI(model=story.MODEL, base_url=story.serve(), api_key="none")


def refund_order(order: str) -> str:
    """Refund an order."""
    return story.refund_order(order)


@wrap_tool_call
def told(request, handler):
    """A failing tool is told to the model."""
    try:
        return handler(request)
    except story.RefundRefused as refused:
        return ToolMessage(str(refused), tool_call_id=request.tool_call["id"], status="error")


agent = create_agent(
    model, tools=[story.lookup_order, refund_order], system_prompt=story.INSTRUCTIONS, name=story.AGENT, middleware=[told]
)
agent.invoke({"messages": [("user", story.QUESTION)]})
write(exporter, target)
