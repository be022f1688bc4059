"""The client for code that waits, against a real server."""

from __future__ import annotations

import unittest
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone

import encke
from encke import ApiError, Message, Push, TransportError
from support import API_KEY, SECRET, URL, Viewer, bodies_to, client, faulty, name, requests_to, viewer


class ClientTest(unittest.TestCase):
    def setUp(self) -> None:
        self.client = client()
        self.addCleanup(self.client.shut)

    def faulty(self, fault: str, of: str, **options: float) -> encke.Client:
        return self.at(faulty(fault, of), API_KEY, **options)

    def at(self, url: str, api_key: str, **options: float) -> encke.Client:
        one = encke.Client(url, api_key, **options)  # type: ignore[arg-type]
        self.addCleanup(one.shut)
        return one

    @contextmanager
    def refused(self, code: str, status: int) -> Iterator[None]:
        with self.assertRaises(ApiError) as refused:
            yield
        self.assertEqual((refused.exception.code, refused.exception.status), (code, status))

    def test_a_push_comes_and_has_receipts(self) -> None:
        alice, bob = viewer(), viewer()
        alice.poll()
        pushed = self.client.push([alice.user, bob.user], data={"text": "Zoë"}, ttl_s=60)
        self.assertEqual((pushed.accepted, pushed.online, pushed.offline), (2, (alice.user,), (bob.user,)))
        self.assertEqual(alice.data(1), [{"text": "Zoë"}])
        states = {receipt.user: receipt.state for receipt in self.client.receipts(pushed.id)}
        self.assertEqual(states[bob.user], "queued")
        self.assertEqual(self.client.cancel(pushed.id), 1)
        self.assertEqual(bob.data(0), [])
        states = {receipt.user: receipt.state for receipt in self.client.receipts(pushed.id)}
        self.assertEqual(states[bob.user], "cancelled")
        self.assertTrue(self.client.user(alice.user).online)

    def test_a_page_and_null_are_pushed(self) -> None:
        alice = viewer()
        self.client.push([alice.user], url="https://example.com/")
        self.client.push([alice.user], data=None)
        page, null = alice.poll()["messages"]
        self.assertEqual((page["type"], page["url"], null["data"]), ("page", "https://example.com/", None))

    def test_receipts_come_in_pages(self) -> None:
        users = [name() for _ in range(1001)]
        pushed = self.client.push(users, data=1)
        self.assertEqual({receipt.user for receipt in self.client.receipts(pushed.id)}, set(users))

    def test_many_in_one_request_have_a_result_each(self) -> None:
        alice = viewer()
        pushes = [Push([alice.user], data=1), Push([], data=2), Push([alice.user], data=3)]
        good, bad, last = self.client.push_many(pushes)
        assert isinstance(good, encke.Accepted) and isinstance(bad, ApiError)
        self.assertIsInstance(last, encke.Accepted)
        self.assertEqual((good.accepted, good.offline, bad.code, bad.status), (1, 1, "bad_request", 0))
        self.assertEqual(alice.data(2), [1, 3])

    def test_a_stream_has_a_result_for_each_line_in_order(self) -> None:
        alice = viewer()
        pushes = (Push([alice.user] if n != 500 else [], data=n, id=f"{alice.user}-{n}") for n in range(1000))
        results = list(self.client.push_stream(pushes))
        self.assertEqual(len(results), 1000)
        self.assertEqual([n for n, result in enumerate(results) if isinstance(result, ApiError)], [500])
        self.assertEqual(alice.data(999), [n for n in range(1000) if n != 500])
        self.assertEqual(list(self.client.push_stream([])), [])

    def test_a_window_of_one_gives_each_result_before_the_next_is_taken(self) -> None:
        taken: list[int] = []

        def source() -> Iterator[Push]:
            for n in range(3):
                taken.append(n)
                yield Push(["alice"], data=n)

        seen = [len(taken) for _ in self.client.push_stream(source(), window=1)]
        self.assertEqual(seen, [1, 2, 3])

    def test_a_stream_that_fails_says_so(self) -> None:
        pushes = [Push(["alice"], data=n) for n in range(200)]
        for fault in ("broken", "ended"):
            with self.assertRaises(TransportError):
                list(self.faulty(fault, name()).push_stream(pushes))
        with self.refused("unauthorized", 401):
            list(self.at(URL, "wrong").push_stream(pushes))

        def source() -> Iterator[Push]:
            yield pushes[0]
            raise OSError("my own")

        with self.assertRaisesRegex(OSError, "my own"):
            list(self.client.push_stream(source()))

    def test_a_stream_is_over_with_its_last_result(self) -> None:
        pushes = [Push(["alice"], data=n) for n in range(2)]
        results = list(self.faulty("endless", name()).push_stream(pushes))
        self.assertEqual(len(results), 2)

    def test_channels(self) -> None:
        alice = viewer(channels=["news-*"])
        channel = name("news")
        alice.poll(channels=channel)
        first = self.client.publish(channel, 1)
        many = self.client.publish_many([Message(channel, 2), Message(channel, 3)])
        streamed = list(self.client.publish_stream([Message(channel, 4), Message("", 5)]))
        assert isinstance(many[1], encke.Published) and isinstance(streamed[1], ApiError)
        self.assertEqual((first.offset, many[1].offset, streamed[1].code), (1, 3, "bad_name"))
        self.assertEqual(alice.data(4), [1, 2, 3, 4])

    def test_the_same_key_is_accepted_once(self) -> None:
        alice = viewer()
        one, two = (self.client.push([alice.user], data=1, id=alice.user) for _ in range(2))
        self.assertEqual(one.id, two.id)
        self.assertEqual(alice.data(1), [1])
        with self.refused("key_reused", 409):
            self.client.push([alice.user], data=2, id=alice.user)

    def test_tokens_say_what_they_grant_and_can_be_revoked(self) -> None:
        with self.assertRaises(urllib.error.HTTPError) as refused:
            viewer(channels=["other"]).poll(channels="news")
        self.assertEqual(refused.exception.code, 403)
        refused.exception.close()
        for revocation in ({"jti": name()}, {"user": name()}):
            user = revocation.get("user", name())
            claims = {"jti": revocation["jti"]} if "jti" in revocation else {}
            alice = Viewer(user, encke.sign_token(SECRET, user, claims=claims))
            alice.poll()
            self.assertEqual(self.client.revoke(**revocation), 1)
            with self.assertRaises(urllib.error.HTTPError) as refused:
                alice.poll()
            self.assertEqual(refused.exception.code, 401)
            refused.exception.close()
        with self.assertRaises(ValueError):
            encke.sign_token("short", "alice")

    def test_a_repeated_revocation_is_of_the_time_of_the_call(self) -> None:
        of = name()
        before = datetime.now(timezone.utc)
        self.faulty("lost", of).revoke(user=name())
        first, second = bodies_to(of)
        self.assertEqual(first, second)
        self.assertTrue(before <= datetime.fromisoformat(first["before"]) <= datetime.now(timezone.utc))
        of = name()
        self.faulty("lost", of).revoke(user=of, before="2026-01-02T03:04:05Z")
        self.assertEqual(bodies_to(of), [{"user": of, "before": "2026-01-02T03:04:05Z"}] * 2)

    def test_close_ends_sessions(self) -> None:
        alice = viewer()
        session = alice.poll()["session"]
        self.assertEqual(self.client.close(session=session, reason="done"), 1)
        self.assertEqual(self.client.close(user=alice.user), 0)
        with self.assertRaises(urllib.error.HTTPError) as refused:
            alice.poll()
        self.assertEqual(refused.exception.code, 410)
        refused.exception.close()

    def test_errors_have_codes(self) -> None:
        with self.refused("unauthorized", 401):
            self.at(URL, "wrong").push(["alice"], data=1)
        with self.refused("bad_request", 400):
            self.client.push("alice", data=1)
        with self.refused("push_unknown", 404):
            self.client.cancel("nothing/of that?")
        with self.refused("user_unknown", 404):
            self.client.user(name("a/b?c"))
        with self.assertRaises(ValueError):
            self.client.push(["alice"], data=float("nan"))
        with self.refused("unexpected_answer", 200):
            self.faulty("html", name()).push(["alice"], data=1)
        with self.assertRaises(TransportError):
            self.at("http://127.0.0.1:1", API_KEY, retries=0).push(["alice"], data=1)
        with self.assertRaises(ValueError):
            encke.Client("127.0.0.1:8080", API_KEY)

    def test_a_key_does_not_go_where_a_redirect_leads(self) -> None:
        with self.refused("unexpected_answer", 307):
            self.faulty("moved", name()).push(["alice"], data=1)

    def test_what_is_lost_is_sent_again_under_one_key(self) -> None:
        for fault in ("lost", "busy", "proxy"):
            alice = viewer()
            self.faulty(fault, alice.user).push([alice.user], data=1)
            self.assertEqual((alice.data(1), requests_to(alice.user)), ([1], 2), fault)
            of = name()
            self.faulty(fault, of).push_many([Push([alice.user], data=2)])
            self.assertEqual((alice.data(1), requests_to(of)), ([2], 2), fault)

    def test_what_is_not_safe_is_sent_once(self) -> None:
        of = name()
        with self.assertRaises(TransportError):
            self.faulty("lost", of).close(user=name())
        self.assertEqual(requests_to(of), 1)

    def test_attempts_come_to_an_end(self) -> None:
        of = name()
        with self.assertRaises(TransportError):
            self.faulty("gone", of, retries=1).push(["alice"], data=1)
        self.assertEqual(requests_to(of), 2)
        with self.assertRaises(TransportError):
            self.faulty("silent", name(), timeout_s=0.2, retries=0).push(["alice"], data=1)

    def test_other_requests_can_be_made(self) -> None:
        self.assertEqual(self.client.request("GET", "/api/sessions?user=" + name())["sessions"], [])


if __name__ == "__main__":
    unittest.main()
