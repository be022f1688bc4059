"""The client for code that waits: the server API over the standard library's HTTP. One client is meant for a
whole process: threads may share it."""

from __future__ import annotations

import http.client
import queue
import selectors
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit

from encke import calls
from encke.calls import Call
from encke.errors import ApiError, TransportError
from encke.records import ABSENT, Accepted, Message, Published, Push, Pushed, Receipt, User

T = TypeVar("T")
In = TypeVar("In")
Out = TypeVar("Out")

#: How many connections rest between two requests.
IDLE_MAX = 10
#: The server lets one rest for 75 s, and proxies for as long or less.
IDLE_MAX_S = 30.0
#: How many requests of a stream may be without a result.
WINDOW = 64


class Client:
    """The server API of one Encke server.

    `timeout_s` is how long connecting may take, and each wait for an answer. A request that does no harm
    when it comes twice is repeated up to `retries` times, after growing pauses: when there was no answer, and
    after 429, 502, 503 and 504.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        timeout_s: float = 10.0,
        retries: int = 2,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        address = urlsplit(url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ValueError(f"{url} is no http or https address")
        self._host, self._port, self._prefix = address.hostname, address.port, address.path.rstrip("/")
        self._headers = {"authorization": f"Bearer {api_key}", "user-agent": "encke-python/0.1.0"}
        self._timeout_s, self._retries = timeout_s, retries
        is_tls = address.scheme == "https"
        self._ssl = (ssl_context or ssl.create_default_context()) if is_tls else None
        self._idle: queue.LifoQueue[tuple[http.client.HTTPConnection, float]] = queue.LifoQueue(IDLE_MAX)

    def push(
        self,
        to: Sequence[str],
        *,
        url: str | None = None,
        show: str | None = None,
        data: Any = ABSENT,
        ttl_s: int | None = None,
        id: str | None = None,
    ) -> Pushed:
        """Pushes data, or the page at `url`, to users (or `ALL`, or `ONLINE`), who get it at once or at their
        next login. `show` may be "window", for a page that forbids frames. `id` is the idempotency key: the
        same push under the same key is accepted once."""
        return self._send(calls.push(Push(to, url, show, data, ttl_s, id)))

    def push_many(self, pushes: Iterable[Push]) -> list[Accepted | ApiError]:
        """Up to 1,000 pushes in one request. The results are in their order; an error is the result of its
        push alone, and is not raised."""
        return self._send(calls.push_many(pushes))

    def push_stream(self, pushes: Iterable[Push], window: int = WINDOW) -> Iterator[Accepted | ApiError]:
        """Any number of pushes over one connection; the results are in their order.

        Up to `window` pushes are under way before the first result is given: take 1 for a source that is
        slow. It is not repeated. When it fails, pushes without a result may have been accepted or not: with
        an `id` of theirs they can be sent again.
        """
        return self._stream("/api/push", pushes, calls.push_line, calls.push_result, window)

    def publish(self, channel: str, data: Any, *, id: str | None = None) -> Published:
        """Publishes data to all who follow a channel. `id` is the idempotency key."""
        return self._send(calls.publish(Message(channel, data, id)))

    def publish_many(self, messages: Iterable[Message]) -> list[Published | ApiError]:
        """Up to 128 messages in one request. The results are in their order."""
        return self._send(calls.publish_many(messages))

    def publish_stream(
        self, messages: Iterable[Message], window: int = WINDOW
    ) -> Iterator[Published | ApiError]:
        """As `push_stream`."""
        return self._stream("/api/publish", messages, calls.message_line, calls.publish_result, window)

    def receipts(self, push_id: str) -> Iterator[Receipt]:
        """What became of a push, with each of its users."""
        after = None
        while True:
            page, after = self._send(calls.receipts(push_id, after))
            yield from page
            if after is None:
                return

    def cancel(self, push_id: str) -> int:
        """Calls a push back where it is still queued; gives for how many users."""
        return self._send(calls.cancel(push_id))

    def user(self, user_id: str) -> User:
        """Whether a user is online, and since when the server knows the user."""
        return self._send(calls.user(user_id))

    def close(
        self,
        *,
        user: str | None = None,
        session: str | None = None,
        reason: str | None = None,
        reconnect: bool = False,
        ban_s: int | None = None,
    ) -> int:
        """Ends the sessions of a user, or one session; gives how many. It is not repeated by itself."""
        return self._send(calls.close(user, session, reason, reconnect, ban_s))

    def revoke(
        self, *, user: str | None = None, jti: str | None = None, before: str | None = None
    ) -> int:
        """Takes tokens back: of a user, the one with this id, or all that were issued before a time (RFC
        3339), which for a user is now, by this machine's clock; gives how many sessions ended with them."""
        return self._send(calls.revoke(user, jti, before))

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Any other request of the server API; gives the JSON of its answer. A POST is not repeated."""
        return self._send(calls.api(method, path, body))

    def shut(self) -> None:
        """Lets go of the connections that rest."""
        while True:
            try:
                self._idle.get_nowait()[0].close()
            except queue.Empty:
                return

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.shut()

    def _send(self, call: Call[T]) -> T:
        body = None if call.body is None else calls.encode(call.body)
        for attempt in range(self._retries + 1):
            failure: ApiError | TransportError
            try:
                status, answer, after = self._once(call.method, call.path, body)
                if status < 300:
                    return call.read(calls.decode(status, answer))
                failure = calls.refusal(status, after, answer)
            except TransportError as error:
                failure = error
            pause_s = calls.pause_s(attempt, failure if isinstance(failure, ApiError) else None)
            if attempt == self._retries or not call.is_repeatable or pause_s is None:
                raise failure
            time.sleep(pause_s)
        raise AssertionError("retries is negative")

    def _once(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes, str | None]:
        connection = self._idle_connection() or self._connection()
        headers = self._headers if body is None else {**self._headers, "content-type": "application/json"}
        try:
            with self._answered():
                connection.request(method, self._prefix + path, body, headers)
                answer = connection.getresponse()
                content = answer.read()
        except BaseException:
            connection.close()
            raise
        self._rest(connection)
        return answer.status, content, answer.getheader("retry-after")

    def _stream(
        self,
        path: str,
        requests: Iterable[In],
        line: Callable[[In], bytes],
        result: Callable[[Any], Out],
        window: int,
    ) -> Iterator[Out]:
        connection = self._connection()
        try:
            with self._answered():
                stream = _Stream(connection, self._prefix + path, self._headers)
            source, is_over, under_way = iter(requests), False, 0
            while True:
                while under_way < max(window, 1) and not is_over:
                    try:
                        text = line(next(source))
                    except StopIteration:
                        is_over = True
                    with self._answered():
                        stream.end() if is_over else stream.send(text)
                    under_way += not is_over
                if under_way == 0:
                    return
                with self._answered():
                    given = stream.receive()
                under_way -= 1
                yield result(given)
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._ssl is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=self._timeout_s, context=self._ssl
        )

    def _idle_connection(self) -> http.client.HTTPConnection | None:
        while True:
            try:
                connection, since = self._idle.get_nowait()
            except queue.Empty:
                return None
            if time.monotonic() - since < IDLE_MAX_S and not _has_ended(connection):
                return connection
            connection.close()

    def _rest(self, connection: http.client.HTTPConnection) -> None:
        try:
            # One that ends with its answer has no socket any more.
            if connection.sock is not None:
                self._idle.put_nowait((connection, time.monotonic()))
        except queue.Full:
            connection.close()

    @contextmanager
    def _answered(self) -> Iterator[None]:
        """What the connection says when there is no answer becomes the error that says so."""
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            what = str(error) or type(error).__name__
            raise TransportError(f"no answer from {self._host}: {what}") from error


class _Stream:
    """A request whose lines are answered one by one, while it goes on."""

    def __init__(self, connection: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> None:
        connection.putrequest("POST", path)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.putheader("content-type", calls.STREAM_TYPE)
        connection.putheader("transfer-encoding", "chunked")
        connection.endheaders()
        # The connection lets go of its socket as soon as it has read the head of an answer behind which it
        # ends; the answer keeps it open.
        self._connection, self._socket = connection, connection.sock
        self._begun: http.client.HTTPResponse | None = None

    def send(self, line: bytes) -> None:
        self._write(b"%x\r\n%b\r\n" % (len(line), line))

    def end(self) -> None:
        self._write(b"0\r\n\r\n")

    def receive(self) -> Any:
        answer = self._answer()
        line = answer.readline()
        if not line.endswith(b"\n"):
            raise http.client.IncompleteRead(line)
        return calls.decode(answer.status, line)

    def _write(self, text: bytes) -> None:
        try:
            self._socket.sendall(text)
        except OSError:
            # What was refused is not taken any more; the refusal says more than this error.
            self._answer()
            raise

    def _answer(self) -> http.client.HTTPResponse:
        """The answer, whose head is read behind the first lines: proxies may hold it back until then."""
        if self._begun is None:
            self._begun = self._connection.getresponse()
            if self._begun.status >= 300:
                after = self._begun.getheader("retry-after")
                raise calls.refusal(self._begun.status, after, self._begun.read())
        return self._begun


def _has_ended(connection: http.client.HTTPConnection) -> bool:
    """Whether the other side has closed a connection that rests: nothing else makes it readable."""
    with selectors.DefaultSelector() as selector:
        selector.register(connection.sock, selectors.EVENT_READ)
        return bool(selector.select(0))
