"""An instrumentation written with opentelemetry-util-genai, the reference of the GenAI conventions, in its newest names."""

import os
import sys
from pathlib import Path

os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "SPAN_ONLY"

import story
from capture import provider, write
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util.genai.handler import TelemetryHandler
from opentelemetry.util.genai.types import InputMessage, OutputMessage, TextPart, ToolCallRequestPart, ToolCallResponsePart

exporter = InMemorySpanExporter()
handler = TelemetryHandler(tracer_provider=provider(exporter, "orders-service"))
tools = {story.LOOKUP: story.lookup_order, story.REFUND: story.refund_order}

heard = [InputMessage(role="user", parts=[TextPart(content=story.QUESTION)])]
with handler.invoke_local_agent(agent_name=story.AGENT, conversation_id="s-1") as agent:
    for step, (given, said) in enumerate(story.USAGE):
        call = None
        with handler.inference("openai", request_model=story.MODEL) as inference:
            part = TextPart(content=story.ANSWER)
            if step < len(story.CALLS):
                part = call = ToolCallRequestPart(arguments={"order": story.ORDER}, name=story.CALLS[step], id=f"call_{step}")
            inference.system_instruction = [TextPart(content=story.INSTRUCTIONS)]
            inference.input_messages = list(heard)
            inference.output_messages = [OutputMessage(role="assistant", parts=[part], finish_reason="stop")]
            inference.response_model_name = story.MODEL
            inference.input_tokens, inference.output_tokens = given, said
        if call is None:
            break
        heard.append(InputMessage(role="assistant", parts=[call]))
        result = ""
        try:
            with handler.tool(call.name, agent_name=story.AGENT, tool_type="function", tool_call_id=call.id) as tool:
                tool.arguments = call.arguments
                result = tool.tool_result = tools[call.name](**call.arguments)
        except story.RefundRefused as refused:
            result = str(refused)
        heard.append(InputMessage(role="tool", parts=[ToolCallResponsePart(response=result, id=call.id)]))
    agent.input_tokens, agent.output_tokens = (sum(column) for column in zip(*story.USAGE, strict=True))
write(exporter, Path(sys.argv[2]))
