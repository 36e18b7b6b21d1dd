"""Google ADK, instrumented by itself, with a model of its own kind: its `newest` names, or the ones it had at `first`."""

import asyncio
import os
import sys
from pathlib import Path

dialect, target = sys.argv[1], Path(sys.argv[2])
if dialect == "first":
    os.environ["ADK_TELEMETRY_SCHEMA_VERSION_OPT_IN"] = "1"
else:
    os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "gen_ai_latest_experimental"
    os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "SPAN_ONLY"

import story
from capture import provider, write
from google.adk.agents import LlmAgent
from google.adk.models import BaseLlm, LlmResponse
from google.adk.plugins.base_plugin import BasePlugin
from google.adk.runners import InMemoryRunner
from google.genai import types
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter = InMemorySpanExporter()
trace.set_tracer_provider(provider(exporter, "orders-service"))


class Scripted(BaseLlm):
    """The scripted model as ADK calls models."""

    async def generate_content_async(self, llm_request, stream=False):
        step = sum(bool(part.function_response) for content in llm_request.contents for part in content.parts)
        given, said = story.USAGE[step]
        part = types.Part(text=story.ANSWER)
        if step < len(story.CALLS):
            part = types.Part(
                function_call=types.FunctionCall(id=f"call_{step}", name=story.CALLS[step], args={"order": story.ORDER})
            )
        usage = types.GenerateContentResponseUsageMetadata(
            prompt_token_count=given, candidates_token_count=said, total_token_count=given + said
        )
        yield LlmResponse(
            content=types.Content(role="model", parts=[part]),
            usage_metadata=usage,
            finish_reason=types.FinishReason.STOP,
            model_version=story.MODEL,
        )


class Told(BasePlugin):
    """A failing tool is told to the model."""

    async def on_tool_error_callback(self, *, tool, tool_args, tool_context, error):
        return {"error": str(error)}


async def main() -> None:
    agent = LlmAgent(
        name=story.AGENT,
        model=Scripted(model=story.MODEL),
        instruction=story.INSTRUCTIONS,
        tools=[story.lookup_order, story.refund_order],
    )
    runner = InMemoryRunner(agent=agent, app_name="orders", plugins=[Told(name="told")])
    await runner.run_debug(story.QUESTION, user_id="u", session_id="s-1", quiet=True)


asyncio.run(main())
write(exporter, target)
