"""A model of the OpenAI Agents SDK that says what a test tells it to say."""

from collections.abc import AsyncIterator
from typing import Any

from agents import ModelResponse, Usage
from agents.models.interface import Model
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
)

USAGE = Usage(requests=1, input_tokens=1000, output_tokens=100, total_tokens=1100)
_numbers = iter(range(1, 1_000_000))


def says(text: str) -> ResponseOutputMessage:
    """A final answer."""
    content = ResponseOutputText(type="output_text", text=text, annotations=[])
    return ResponseOutputMessage(id="m", type="message", role="assistant", status="completed", content=[content])


def calls(tool: str, arguments: str = "{}") -> ResponseFunctionToolCall:
    """A tool call, or a hand-off."""
    return ResponseFunctionToolCall(type="function_call", call_id=f"call-{next(_numbers)}", name=tool, arguments=arguments)


class ScriptedModel(Model):
    """Gives the next of `turns` each time it is asked; the last one again and again. Remembers what it was shown."""

    def __init__(self, *turns: Any) -> None:
        self.model = "scripted"
        self._turns = [turn if isinstance(turn, list) else [turn] for turn in turns]
        self.shown: list[list[Any]] = []

    def _next(self, shown: Any) -> list[Any]:
        self.shown.append(list(shown) if isinstance(shown, list) else [shown])
        turn = self._turns[min(len(self.shown), len(self._turns)) - 1]
        if isinstance(turn[0], Exception):
            raise turn[0]
        return [calls(item.name, item.arguments) if isinstance(item, ResponseFunctionToolCall) else item for item in turn]

    def results(self) -> list[str]:
        """What the model was told came of its tool calls, at its last turn."""
        return [item["output"] for item in self.shown[-1] if item.get("type") == "function_call_output"]

    async def get_response(self, system_instructions: Any, input: Any, *args: Any, **kwargs: Any) -> ModelResponse:  # noqa: A002
        return ModelResponse(output=self._next(input), usage=USAGE, response_id=None)

    async def stream_response(self, system_instructions: Any, input: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:  # noqa: A002
        response = Response(
            id="r",
            created_at=0,
            model="scripted",
            object="response",
            output=self._next(input),
            tool_choice="auto",
            tools=[],
            parallel_tool_calls=False,
        )
        yield ResponseCompletedEvent(type="response.completed", response=response, sequence_number=0)
