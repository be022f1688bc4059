"""What each call sends, and what its answer becomes. Knows nothing of sockets, so that both clients say the
same."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

from encke.errors import ApiError
from encke.records import ABSENT, Accepted, Message, Published, Push, Pushed, Receipt, User, read

T = TypeVar("T")

#: Instead of users: all that the server knows, and those who are online.
ALL: Sequence[str] = "all"
ONLINE: Sequence[str] = "online"

#: Answers after which the same request may do better.
STATUSES_TO_REPEAT = frozenset({429, 502, 503, 504})
PAUSE_S = 0.25
PAUSE_MAX_S = 5.0
#: A server that wants a longer pause has its way with the caller, who is told.
RETRY_AFTER_MAX_S = 10.0
#: Receipts are asked for in pages of this size.
PAGE = 1000

STREAM_TYPE = "application/x-ndjson"


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request, and how its answer is read."""

    method: str
    path: str
    body: Any
    read: Callable[[Any], T]
    #: Whether to send it twice does what to send it once does.
    is_repeatable: bool = True


def api(method: str, path: str, body: Any = None, is_repeatable: bool | None = None) -> Call[Any]:
    """Any request. A POST is repeated where the caller says that this does no harm."""
    safe = method != "POST" if is_repeatable is None else is_repeatable
    return Call(method, path, body, lambda answer: answer, safe)


def push(one: Push) -> Call[Pushed]:
    return Call("POST", "/api/push", push_body(one, key()), lambda answer: read(Pushed, answer))


def push_many(pushes: Iterable[Push]) -> Call[list[Accepted | ApiError]]:
    body = {"pushes": [push_body(one, key()) for one in pushes]}
    return Call("POST", "/api/push", body, lambda answer: [push_result(one) for one in answer["results"]])


def publish(message: Message) -> Call[Published]:
    body = message_body(message, key())
    return Call("POST", "/api/publish", body, lambda answer: read(Published, answer))


def publish_many(messages: Iterable[Message]) -> Call[list[Published | ApiError]]:
    body = {"messages": [message_body(message, key()) for message in messages]}
    results: Callable[[Any], list[Published | ApiError]] = lambda answer: [
        publish_result(one) for one in answer["results"]
    ]
    return Call("POST", "/api/publish", body, results)


def receipts(push_id: str, after: str | None) -> Call[tuple[list[Receipt], str | None]]:
    query = urlencode({"limit": PAGE, **({"after": after} if after else {})})
    return Call(
        "GET",
        f"/api/push/{segment(push_id)}?{query}",
        None,
        lambda answer: ([read(Receipt, one) for one in answer["receipts"]], answer.get("next")),
    )


def cancel(push_id: str) -> Call[int]:
    return Call("DELETE", f"/api/push/{segment(push_id)}", None, lambda answer: int(answer["cancelled"]))


def user(user_id: str) -> Call[User]:
    return Call("GET", f"/api/users/{segment(user_id)}", None, lambda answer: read(User, answer))


def close(
    user: str | None, session: str | None, reason: str | None, reconnect: bool, ban_s: int | None
) -> Call[int]:
    body = given(user=user, session=session, reason=reason, reconnect=reconnect or None, ban_s=ban_s)
    # Sent twice, it would close who has come back meanwhile.
    return Call("POST", "/api/close", body, lambda answer: int(answer["closed"]), is_repeatable=False)


def revoke(user: str | None, jti: str | None, before: str | None) -> Call[int]:
    if user is not None and before is None:
        # Said now, so that a repeat spares the tokens that are issued until then.
        before = datetime.now(timezone.utc).isoformat()
    body = given(user=user, jti=jti, before=before)
    return Call("POST", "/api/revoke", body, lambda answer: int(answer["closed"]))


def push_line(one: Push) -> bytes:
    return line(push_body(one, None))


def message_line(message: Message) -> bytes:
    return line(message_body(message, None))


def push_result(one: Mapping[str, Any]) -> Accepted | ApiError:
    return error_in(one) or read(Accepted, one)


def publish_result(one: Mapping[str, Any]) -> Published | ApiError:
    return error_in(one) or read(Published, one)


def refusal(status: int, retry_after: str | None, body: bytes) -> ApiError:
    """What an answer says that is not the expected one."""
    after = float(retry_after) if retry_after is not None and retry_after.isdecimal() else None
    try:
        error = json.loads(body)["error"]
        return ApiError(status, str(error["code"]), str(error["message"]), after)
    except (ValueError, KeyError, TypeError):
        text = body[:200].decode("utf-8", "replace")
        return ApiError(status, "unexpected_answer", f"status {status}: {text}", after)


def pause_s(attempt: int, error: ApiError | None) -> float | None:
    """How long to wait before the next attempt; None if there is to be none."""
    after = error.retry_after_s if error else None
    if error and error.status not in STATUSES_TO_REPEAT or (after or 0) > RETRY_AFTER_MAX_S:
        return None
    pause: float = min(PAUSE_S * 2**attempt, PAUSE_MAX_S)
    return (after or 0) + pause * random.uniform(0.5, 1)


def encode(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def decode(status: int, text: bytes) -> Any:
    """The JSON of an answer; a page of another server is none."""
    try:
        return json.loads(text)
    except ValueError:
        raise refusal(status, None, text) from None


def key() -> str:
    """An idempotency key for a message that has none, so that it can be sent again."""
    return uuid.uuid4().hex


def given(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def segment(text: str) -> str:
    return quote(text, safe="")


def line(body: Any) -> bytes:
    return encode(body) + b"\n"


def push_body(one: Push, default_key: str | None) -> dict[str, Any]:
    body = given(to=one.to, url=one.url, show=one.show, ttl_s=one.ttl_s, id=one.id or default_key)
    if one.data is not ABSENT:
        body["data"] = one.data
    return body


def message_body(message: Message, default_key: str | None) -> dict[str, Any]:
    return {"channel": message.channel, "data": message.data, **given(id=message.id or default_key)}


def error_in(result: Mapping[str, Any]) -> ApiError | None:
    error = result.get("error")
    return ApiError(0, str(error["code"]), str(error["message"])) if error else None
