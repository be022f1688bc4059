"""The client for asyncio, against a real server. What both clients send is tested with the other one."""

from __future__ import annotations

import asyncio
import unittest
from collections.abc import AsyncIterator

import encke
from encke import ApiError, Message, Push, TransportError
from encke.aio import AsyncClient
from support import API_KEY, URL, faulty, name, requests_to, viewer


class AsyncClientTest(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.client = AsyncClient(URL, API_KEY)
        self.addAsyncCleanup(self.client.shut)

    def faulty(self, fault: str, of: str, **options: float) -> AsyncClient:
        one = AsyncClient(faulty(fault, of), API_KEY, **options)  # type: ignore[arg-type]
        self.addAsyncCleanup(one.shut)
        return one

    async def test_every_call(self) -> None:
        alice = viewer(channels=["*"])
        channel = name()
        session = alice.poll(channels=channel)["session"]
        pushed = await self.client.push([alice.user], data=1)
        many = await self.client.push_many([Push([alice.user], data=2), Push([], data=3)])
        await self.client.publish(channel, 4)
        await self.client.publish_many([Message(channel, 5)])
        self.assertIsInstance(many[1], ApiError)
        self.assertEqual(sorted(alice.data(4)), [1, 2, 4, 5])
        self.assertEqual([one.user async for one in self.client.receipts(pushed.id)], [alice.user])
        self.assertTrue((await self.client.user(alice.user)).online)
        self.assertEqual(await self.client.cancel(pushed.id), 0)
        self.assertEqual(await self.client.close(session=session), 1)
        self.assertEqual(await self.client.revoke(user=alice.user), 0)
        self.assertIn("nodes", await self.client.request("GET", "/api/nodes"))

    async def test_a_stream_has_a_result_for_each_line_in_order(self) -> None:
        alice = viewer()
        pushes = (Push([alice.user] if n != 500 else [], data=n) for n in range(1000))
        results = [result async for result in self.client.push_stream(pushes)]
        self.assertEqual(len(results), 1000)
        self.assertEqual([n for n, result in enumerate(results) if isinstance(result, ApiError)], [500])
        self.assertEqual(alice.data(999), [n for n in range(1000) if n != 500])
        published = [one async for one in self.client.publish_stream([Message(name(), 1)])]
        self.assertIsInstance(published[0], encke.Published)

    async def test_a_result_does_not_wait_for_the_next_push(self) -> None:
        has_result = asyncio.Event()

        async def source() -> AsyncIterator[Push]:
            yield Push(["alice"], data=1)
            await has_result.wait()
            yield Push(["alice"], data=2)

        async def results() -> int:
            seen = 0
            async for _ in self.client.push_stream(source()):
                has_result.set()
                seen += 1
            return seen

        self.assertEqual(await asyncio.wait_for(results(), 20), 2)

    async def test_a_stream_that_fails_says_so(self) -> None:
        pushes = [Push(["alice"], data=n) for n in range(200)]
        for fault in ("broken", "ended"):
            with self.assertRaises(TransportError):
                async for _ in self.faulty(fault, name()).push_stream(pushes):
                    pass
        stranger = AsyncClient(URL, "wrong")
        self.addAsyncCleanup(stranger.shut)
        with self.assertRaises(ApiError) as refused:
            async for _ in stranger.push_stream(pushes):
                pass
        self.assertEqual(refused.exception.code, "unauthorized")

        async def source() -> AsyncIterator[Push]:
            yield pushes[0]
            raise OSError("my own")

        with self.assertRaisesRegex(OSError, "my own"):
            async for _ in self.client.push_stream(source()):
                pass
        with self.assertRaises(TransportError):
            async for _ in self.faulty("silent", name(), timeout_s=0.2).push_stream(pushes):
                pass

    async def test_a_stream_whose_answer_does_not_end_says_so(self) -> None:
        async def slow() -> AsyncIterator[Push]:
            yield Push(["alice"], data=1)
            await has_result.wait()

        async def results(pushes: AsyncIterator[Push] | list[Push]) -> None:
            async for _ in self.faulty("endless", name(), timeout_s=1).push_stream(pushes):
                has_result.set()

        # The source has ended before the last result, or ends after it.
        for pushes in ([Push(["alice"], data=1)], slow()):
            has_result = asyncio.Event()
            with self.assertRaises(TransportError):
                await asyncio.wait_for(results(pushes), 20)

    async def test_what_is_lost_is_sent_again_under_one_key(self) -> None:
        for fault in ("lost", "busy", "proxy"):
            alice = viewer()
            await self.faulty(fault, alice.user).push([alice.user], data=1)
            self.assertEqual((alice.data(1), requests_to(alice.user)), ([1], 2), fault)

    async def test_what_is_not_safe_is_sent_once(self) -> None:
        of = name()
        with self.assertRaises(TransportError):
            await self.faulty("lost", of).close(user=name())
        self.assertEqual(requests_to(of), 1)
        with self.assertRaises(TransportError):
            await self.faulty("silent", name(), timeout_s=0.2, retries=0).push(["alice"], data=1)
        with self.assertRaises(ApiError) as refused:
            await self.faulty("moved", name()).push(["alice"], data=1)
        self.assertEqual(refused.exception.code, "unexpected_answer")


if __name__ == "__main__":
    unittest.main()
