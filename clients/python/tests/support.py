"""What the tests share: where the server is, and a user of it."""

from __future__ import annotations

import json
import os
import urllib.parse
import urllib.request
import uuid
from typing import Any

import encke

URL = os.environ["ENCKE_URL"]
API_KEY = os.environ["ENCKE_API_KEY"]
SECRET = os.environ["ENCKE_TOKEN_SECRET"]
FAULTY_URL = os.environ["ENCKE_FAULTY_URL"]
WITHIN_S = 20


def name(prefix: str = "user") -> str:
    """A name that no other test has."""
    return f"{prefix}-{uuid.uuid4().hex}"


def client(**options: Any) -> encke.Client:
    return encke.Client(URL, API_KEY, **options)


def faulty(fault: str, of: str) -> str:
    return f"{FAULTY_URL}/{fault}/{of}"


def requests_to(of: str) -> int:
    """How many requests came to this name at the faulty front."""
    with urllib.request.urlopen(faulty("count", of) + "/", timeout=WITHIN_S) as answer:
        return int(answer.read())


def bodies_to(of: str) -> list[Any]:
    """The JSON of the requests that came to this name at the faulty front."""
    with urllib.request.urlopen(faulty("bodies", of) + "/", timeout=WITHIN_S) as answer:
        return [json.loads(body) for body in json.load(answer)]


class Viewer:
    """A user who polls."""

    def __init__(self, user: str, token: str) -> None:
        self.user, self.token, self.at = user, token, {"cursor": "earliest"}

    def poll(self, **query: Any) -> Any:
        address = f"{URL}/v1/poll?{urllib.parse.urlencode({'hold_s': 0, **self.at, **query})}"
        asked = urllib.request.Request(address, headers={"authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(asked, timeout=WITHIN_S) as answer:
            value = json.load(answer)
        self.at = {"cursor": value["cursor"], "session": value["session"]}
        return value

    def data(self, count: int) -> list[Any]:
        """The data of so many messages, and of those that came too many."""
        found: list[Any] = []
        while True:
            messages = self.poll(hold_s=5 if len(found) < count else 0)["messages"]
            if not messages:
                return found
            found += [message["data"] for message in messages]


def viewer(**options: Any) -> Viewer:
    user = name()
    return Viewer(user, encke.sign_token(SECRET, user, **options))
