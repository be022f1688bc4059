"""The signatures of hooks, by the vectors that all libraries share."""

from __future__ import annotations

import json
import unittest
from pathlib import Path

import encke

VECTORS = Path(__file__).parents[3] / "tests" / "vectors" / "webhooks.json"


class WebhooksTest(unittest.TestCase):
    def test_vectors(self) -> None:
        vectors = json.loads(VECTORS.read_text())
        self.assertGreater(len(vectors), 20)
        for one in vectors:
            with self.subTest(one["name"]):
                body = one["body"].encode()
                if one["good"]:
                    value = encke.verify_webhook(one["headers"], body, one["secrets"], now=one["now"])
                    self.assertEqual(value, json.loads(body))
                else:
                    # A secret that is none is the caller's mistake, not the request's.
                    wrong = ValueError if one.get("bad_secret") else encke.InvalidWebhook
                    with self.assertRaises(wrong):
                        encke.verify_webhook(one["headers"], body, one["secrets"], now=one["now"])

    def test_now_is_now(self) -> None:
        old = json.loads(VECTORS.read_text())[0]
        with self.assertRaisesRegex(encke.InvalidWebhook, "too far"):
            encke.verify_webhook(old["headers"], old["body"].encode(), old["secrets"][0])

    def test_bytes_that_are_no_text_are_refused(self) -> None:
        one = json.loads(VECTORS.read_text())[0]
        body, options = one["body"].encode(), {"secrets": one["secrets"], "now": one["now"]}
        # As servers for WSGI give them, and as no server does.
        for other in ("\udce9", "\ud800"):
            for field in ("id", "timestamp", "signature"):
                headers = {**one["headers"], f"webhook-{field}": other}
                with self.subTest(field), self.assertRaises(encke.InvalidWebhook):
                    encke.verify_webhook(headers, body, **options)

    def test_a_body_that_is_too_deep_is_refused(self) -> None:
        secret = json.loads(VECTORS.read_text())[0]["secrets"][0]
        body = b"[" * 100_000
        headers = {
            "webhook-id": "a",
            "webhook-timestamp": "1614265330",
            "webhook-signature": encke.sign_webhook(secret, "a", 1614265330, body),
        }
        with self.assertRaises(encke.InvalidWebhook):
            encke.verify_webhook(headers, body, secret, now=1614265330)

    def test_no_secret_verifies_nothing(self) -> None:
        one = json.loads(VECTORS.read_text())[0]
        for secrets in ("", [], [""]):
            with self.assertRaises(ValueError):
                encke.verify_webhook(one["headers"], one["body"].encode(), secrets, now=one["now"])


if __name__ == "__main__":
    unittest.main()
