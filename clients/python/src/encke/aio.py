"""The client for asyncio, over aiohttp (`pip install encke[async]`). It says what `encke.Client` says; that
has the words for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, TypeVar

import aiohttp

from encke import calls
from encke.calls import Call
from encke.client import WINDOW
from encke.errors import ApiError, TransportError
from encke.records import ABSENT, Accepted, Message, Published, Push, Pushed, Receipt, User

T = TypeVar("T")
In = TypeVar("In")
Out = TypeVar("Out")


class AsyncClient:
    """The server API of one Encke server, as `encke.Client` has it. It is made where the loop runs, and `shut`
    ends it. A `session` that is given stays the caller's."""

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        timeout_s: float = 10.0,
        retries: int = 2,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._headers = {"authorization": f"Bearer {api_key}", "user-agent": "encke-python/0.1.0"}
        self._timeout_s, self._retries = timeout_s, retries
        self._session = session or aiohttp.ClientSession()
        self._is_own = session is None

    async def push(
        self,
        to: Sequence[str],
        *,
        url: str | None = None,
        show: str | None = None,
        data: Any = ABSENT,
        ttl_s: int | None = None,
        id: str | None = None,
    ) -> Pushed:
        """See `encke.Client.push`."""
        return await self._send(calls.push(Push(to, url, show, data, ttl_s, id)))

    async def push_many(self, pushes: Iterable[Push]) -> list[Accepted | ApiError]:
        """See `encke.Client.push_many`."""
        return await self._send(calls.push_many(pushes))

    def push_stream(
        self, pushes: AsyncIterable[Push] | Iterable[Push], window: int = WINDOW
    ) -> AsyncIterator[Accepted | ApiError]:
        """See `encke.Client.push_stream`. Each result comes at once, however slow the source is."""
        return self._stream("/api/push", pushes, calls.push_line, calls.push_result, window)

    async def publish(self, channel: str, data: Any, *, id: str | None = None) -> Published:
        """See `encke.Client.publish`."""
        return await self._send(calls.publish(Message(channel, data, id)))

    async def publish_many(self, messages: Iterable[Message]) -> list[Published | ApiError]:
        """See `encke.Client.publish_many`."""
        return await self._send(calls.publish_many(messages))

    def publish_stream(
        self, messages: AsyncIterable[Message] | Iterable[Message], window: int = WINDOW
    ) -> AsyncIterator[Published | ApiError]:
        """See `push_stream`."""
        return self._stream("/api/publish", messages, calls.message_line, calls.publish_result, window)

    async def receipts(self, push_id: str) -> AsyncIterator[Receipt]:
        """See `encke.Client.receipts`."""
        after = None
        while True:
            page, after = await self._send(calls.receipts(push_id, after))
            for receipt in page:
                yield receipt
            if after is None:
                return

    async def cancel(self, push_id: str) -> int:
        """See `encke.Client.cancel`."""
        return await self._send(calls.cancel(push_id))

    async def user(self, user_id: str) -> User:
        """See `encke.Client.user`."""
        return await self._send(calls.user(user_id))

    async def close(
        self,
        *,
        user: str | None = None,
        session: str | None = None,
        reason: str | None = None,
        reconnect: bool = False,
        ban_s: int | None = None,
    ) -> int:
        """See `encke.Client.close`."""
        return await self._send(calls.close(user, session, reason, reconnect, ban_s))

    async def revoke(
        self, *, user: str | None = None, jti: str | None = None, before: str | None = None
    ) -> int:
        """See `encke.Client.revoke`."""
        return await self._send(calls.revoke(user, jti, before))

    async def request(self, method: str, path: str, body: Any = None) -> Any:
        """See `encke.Client.request`."""
        return await self._send(calls.api(method, path, body))

    async def shut(self) -> None:
        """Ends the connections."""
        if self._is_own:
            await self._session.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.shut()

    async def _send(self, call: Call[T]) -> T:
        body = None if call.body is None else calls.encode(call.body)
        for attempt in range(self._retries + 1):
            failure: ApiError | TransportError
            try:
                status, answer, after = await self._once(call.method, call.path, body)
                if status < 300:
                    return call.read(calls.decode(status, answer))
                failure = calls.refusal(status, after, answer)
            except (aiohttp.ClientError, asyncio.TimeoutError) as error:
                failure = self._no_answer(error)
            pause_s = calls.pause_s(attempt, failure if isinstance(failure, ApiError) else None)
            if attempt == self._retries or not call.is_repeatable or pause_s is None:
                raise failure
            await asyncio.sleep(pause_s)
        raise AssertionError("retries is negative")

    async def _once(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes, str | None]:
        headers = self._headers if body is None else {**self._headers, "content-type": "application/json"}
        async with self._session.request(
            method,
            self._url + path,
            data=body,
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            allow_redirects=False,
        ) as answer:
            return answer.status, await answer.read(), answer.headers.get("retry-after")

    async def _stream(
        self,
        path: str,
        requests: AsyncIterable[In] | Iterable[In],
        line: Callable[[In], bytes],
        result: Callable[[Any], Out],
        window: int,
    ) -> AsyncIterator[Out]:
        source = _Source(requests, line, window)
        try:
            answer = await self._begin(path, source)
            try:
                if answer.status >= 300:
                    after = answer.headers.get("retry-after")
                    raise calls.refusal(answer.status, after, await answer.read())
                while given := await self._next(answer.content, source):
                    source.answered()
                    yield result(calls.decode(answer.status, given))
                if source.under_way:
                    raise aiohttp.ClientPayloadError("the stream broke off")
            finally:
                # Ends the source as well, which may wait for results that do not come.
                answer.close()
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            # A source that fails ends the request, which looks like a lost connection.
            raise source.failure or self._no_answer(error) from error

    async def _begin(self, path: str, source: _Source[Any]) -> aiohttp.ClientResponse:
        """Sends the head of a stream; the answer begins at once."""
        asked = self._session.post(
            self._url + path,
            data=source.lines(),
            headers={**self._headers, "content-type": calls.STREAM_TYPE},
            # The source may rest for as long as it likes.
            timeout=aiohttp.ClientTimeout(total=None),
            allow_redirects=False,
        )
        return await asyncio.wait_for(asked, self._timeout_s)

    async def _next(self, content: aiohttp.StreamReader, source: _Source[Any]) -> bytes:
        """The next line, nothing at the end. It is late only if a request waits for its result, or if there
        are no more requests."""
        reading = asyncio.ensure_future(content.readline())
        try:
            while True:
                before = (source.sent, source.is_over)
                done, _ = await asyncio.wait({reading}, timeout=self._timeout_s)
                if done:
                    return reading.result()
                if source.failure:
                    raise source.failure
                is_due = source.under_way > 0 or source.is_over
                if is_due and (source.sent, source.is_over) == before:
                    raise asyncio.TimeoutError("no result in time")
        finally:
            reading.cancel()

    def _no_answer(self, error: BaseException) -> TransportError:
        return TransportError(f"no answer from {self._url}: {str(error) or type(error).__name__}")


class _Source(AsyncIterable[In]):
    """The requests of a stream, of which so many may be without a result."""

    def __init__(
        self, requests: AsyncIterable[In] | Iterable[In], line: Callable[[In], bytes], window: int
    ) -> None:
        self._requests, self._line = requests, line
        self._places = asyncio.Semaphore(max(window, 1))
        self.sent = 0
        self.under_way = 0
        self.is_over = False
        self.failure: Exception | None = None

    async def lines(self) -> AsyncIterator[bytes]:
        """What is sent."""
        try:
            async for request in self:
                await self._places.acquire()
                self.sent += 1
                self.under_way += 1
                yield self._line(request)
            self.is_over = True
        except Exception as error:
            self.failure = error
            raise

    def answered(self) -> None:
        """A result has come."""
        self.under_way -= 1
        self._places.release()

    async def __aiter__(self) -> AsyncIterator[In]:
        if isinstance(self._requests, AsyncIterable):
            async for request in self._requests:
                yield request
        else:
            for request in self._requests:
                yield request
