"""What can go wrong. Everything that the library raises by itself is an `EnckeError`."""

from __future__ import annotations


class EnckeError(Exception):
    """The base of all errors of this library."""


class TransportError(EnckeError):
    """There was no answer: the connection was refused or cut off, or the time was over. Whether the request
    was carried out is not known."""


class ApiError(EnckeError):
    """The server refused a request."""

    def __init__(self, status: int, code: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{code}: {message}")
        #: The HTTP status; 0 for one of several requests in a call, which has none of its own.
        self.status = status
        #: One of the table in docs/PROTOCOL.md, or `unexpected_answer` when the answer is not Encke's.
        self.code = code
        self.message = message
        #: In how many seconds to come again, if the server says so.
        self.retry_after_s = retry_after_s


class InvalidWebhook(EnckeError):
    """A request is not a hook of the server, or an old one."""
