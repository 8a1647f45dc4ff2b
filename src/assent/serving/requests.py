"""What may be asked: bodies of OpenAI's two endpoints, closed. A field that is not served is refused by its name."""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Literal, NoReturn, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from assent.core.records import Message, Prompt
from assent.serving.errors import ApiError

COOLEST = 0.01
"""Lowest temperature above 0: below it, logits divided by it could overflow."""
STOPS, STOP_LENGTH = 4, 200
"""Most stop strings, and their longest, in characters: they are looked for after every token."""

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "top_p": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "tool_choice": ("none",),
    "functions": ([],),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "store": (False,),
    "service_tier": ("auto", "default"),
    "echo": (False,),
    "best_of": (1,),
    "suffix": ("",),
}
"""Fields of OpenAI's that this server does not have, and the values under which they ask for nothing."""

Count = Annotated[StrictInt, Field(ge=1)]
Stop = Annotated[StrictStr, Field(min_length=1, max_length=STOP_LENGTH)]


class _Part(BaseModel):
    """A piece of a message; of text, the only kind there is."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["text"]
    text: StrictStr


class _Turn(BaseModel):
    """A message. `developer` is what OpenAI calls a system message today."""

    model_config = ConfigDict(extra="forbid")
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[list[_Part], Field(min_length=1)]

    @field_validator("content", mode="before")
    @classmethod
    def _one_part(cls, content: Any) -> Any:
        return [{"type": "text", "text": content}] if isinstance(content, str) else content

    def message(self) -> Message:
        """The same as a record."""
        text = "".join(part.text for part in self.content)
        return Message(role="system" if self.role == "developer" else self.role, content=text)


class _StreamOptions(BaseModel):
    """Whether the stream ends with the number of tokens."""

    model_config = ConfigDict(extra="forbid")
    include_usage: StrictBool = False


class Ask(BaseModel):
    """What both endpoints take. `user` names the asker's own user: it changes no answer and is not kept."""

    model_config = ConfigDict(extra="forbid")
    TOLD: ClassVar[str] = ""
    """The field that holds what is to be answered."""
    model: StrictStr
    n: Count = 1
    temperature: Annotated[StrictFloat, Field(ge=0, le=2)] = 1.0
    max_tokens: Count | None = None
    stop: Annotated[list[Stop], Field(max_length=STOPS)] = []
    seed: Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)] | None = None
    stream: StrictBool = False
    stream_options: _StreamOptions | None = None
    user: StrictStr | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _one_stop(cls, stop: Any) -> Any:
        return [stop] if isinstance(stop, str) else stop

    @field_validator("temperature")
    @classmethod
    def _not_too_cool(cls, temperature: float) -> float:
        if 0 < temperature < COOLEST:
            raise PydanticCustomError("cool", f"must be 0 (the likeliest token each time) or at least {COOLEST}")
        return temperature

    @model_validator(mode="after")
    def _options_are_read(self) -> Self:
        if self.stream_options and not self.stream:
            _refuse("stream_options", "is not read without `stream: true`")
        if self.stream and self.wants_logprobs:
            _refuse("logprobs", "is not served with `stream: true`")
        return self

    @property
    def wants_logprobs(self) -> bool:
        """Whether log-probs of the sampled tokens are asked for."""
        return False

    @property
    def counts_streamed(self) -> bool:
        """Whether a stream ends with the number of tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def prompts(self) -> list[Prompt]:
        """What is to be answered."""
        raise NotImplementedError


class ChatAsk(Ask):
    """POST /v1/chat/completions."""

    TOLD = "messages"
    messages: Annotated[list[_Turn], Field(min_length=1)]
    max_completion_tokens: Count | None = None
    logprobs: StrictBool = False

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        """`max_completion_tokens` is the newer name of `max_tokens`."""
        if self.max_tokens and self.max_completion_tokens:
            _refuse("max_completion_tokens", "stands beside `max_tokens`, which means the same; give one of them")
        self.max_tokens = self.max_tokens or self.max_completion_tokens
        if self.messages[-1].role == "assistant":
            _refuse("messages", "must not end with the assistant's turn: answers are not continued")
        return self

    @property
    def wants_logprobs(self) -> bool:
        return self.logprobs

    def prompts(self) -> list[Prompt]:
        return [Prompt(messages=tuple(turn.message() for turn in self.messages))]


class TextAsk(Ask):
    """POST /v1/completions. OpenAI's default of 16 tokens holds."""

    TOLD = "prompt"
    prompt: Annotated[list[StrictStr], Field(min_length=1)]
    max_tokens: Count | None = 16

    @field_validator("prompt", mode="before")
    @classmethod
    def _one_prompt(cls, prompt: Any) -> Any:
        return [prompt] if isinstance(prompt, str) else prompt

    def prompts(self) -> list[Prompt]:
        return [Prompt.of(text) for text in self.prompt]


A = TypeVar("A", bound=Ask)


def parse(kind: type[A], body: bytes) -> A:
    """The request in a body. Raises ApiError (400) for what is no JSON object, and names the field at fault."""
    given = _object(body)
    for name, neutral in NEUTRAL.items():
        if name in given and name not in kind.model_fields:
            value = given.pop(name)
            if not any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in neutral):
                raise ApiError(400, f"`{name}` is not supported", param=name, code="unsupported_parameter")
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise _refusal(error) from None


def _object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body, fields that are null left out: clients write them for `not given`."""
    try:
        given = json.loads(body.decode("utf-8"), parse_constant=_no_number, object_hook=_given)
        json.dumps(given, ensure_ascii=False).encode()  # half a surrogate pair is JSON, but no text
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is not JSON: {error}", code="invalid_json") from None
    if not isinstance(given, dict):
        raise ApiError(400, "the body must be a JSON object", code="invalid_json")
    return given


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _refuse(param: str, why: str) -> NoReturn:
    raise PydanticCustomError("refused", "{why}", {"param": param, "why": why})


def _refusal(error: ValidationError) -> ApiError:
    """The first thing that is wrong."""
    first = error.errors(include_url=False)[0]
    param = (first.get("ctx") or {}).get("param") or ".".join(map(str, first["loc"])) or None
    if first["type"] == "extra_forbidden":
        return ApiError(400, f"`{param}` is not a field of this endpoint", param=param, code="unknown_parameter")
    if first["type"] == "missing":
        return ApiError(400, f"`{param}` is missing", param=param, code="missing_required_parameter")
    return ApiError(400, f"`{param}`: {first['msg']}", param=param, code="invalid_value")
