"""What is sent and what is answered, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

T = TypeVar("T")


class Absent:
    """The type of `ABSENT`."""

    def __repr__(self) -> str:
        return "ABSENT"


#: Stands for data that is not given, since None is data.
ABSENT = Absent()


@dataclass(frozen=True)
class Push:
    """A push: data or a page for some users. Exactly one of `url` and `data` is given."""

    #: Users, or `ALL`, or `ONLINE`.
    to: Sequence[str]
    url: str | None = None
    #: What the page is shown in: a "frame" of the receiver's page, unless it says "window".
    show: str | None = None
    data: Any = ABSENT
    #: It is not delivered after so many seconds.
    ttl_s: int | None = None
    #: The idempotency key, up to 128 bytes.
    id: str | None = None


@dataclass(frozen=True)
class Message:
    """A message for a channel."""

    channel: str
    data: Any
    #: The idempotency key, up to 128 bytes.
    id: str | None = None


@dataclass(frozen=True)
class Pushed:
    """A push that was accepted."""

    id: str
    #: What keeps it: `memory`, `log`, `redis` or `nats`.
    mode: str
    #: For how many users.
    accepted: int
    #: Who of them was online and offline then; 10,000 of each at most.
    online: tuple[str, ...]
    offline: tuple[str, ...]
    truncated: bool = False


@dataclass(frozen=True)
class Accepted:
    """One of several pushes that was accepted; users are counted and not named."""

    id: str
    accepted: int
    online: int
    offline: int


@dataclass(frozen=True)
class Published:
    """A message that was accepted, and its place in its channel."""

    id: str
    offset: int
    epoch: str


@dataclass(frozen=True)
class Receipt:
    """What became of a push with one user."""

    user: str
    #: `queued`, `delivered`, `shown`, `expired` or `cancelled`.
    state: str
    #: RFC 3339, in UTC.
    time: str


@dataclass(frozen=True)
class User:
    """A user that the server knows."""

    id: str
    online: bool
    sessions: int
    #: RFC 3339, in UTC.
    first_seen: str | None = None
    last_seen: str | None = None


def read(kind: type[T], value: Mapping[str, Any]) -> T:
    """A value of this type from an answer. What the type does not have is passed over."""
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    given = {name: tuple(v) if isinstance(v, list) else v for name, v in value.items() if name in names}
    return kind(**given)
