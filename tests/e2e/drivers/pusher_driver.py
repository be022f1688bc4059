"""The client pysher and the server library pusher, driven by lines of JSON; support/driver.js has the other
side. It only calls them, and knows nothing of what a test expects.
"""

import json
import sys
import threading

import pusher
import pysher

LOCK = threading.Lock()


class Driver:
    """An application's backend, and clients of it."""

    def __init__(self):
        self.app = None
        self.backend = None
        self.clients = {}

    def carry_out(self, asked):
        match asked["do"]:
            case "begin":
                self.app = asked["app"]
                self.backend = pusher.Pusher(ssl=False, **self.app)
            case "call":
                return {"answer": getattr(self.backend, asked["method"])(*asked["arguments"])}
            case "connect":
                self.connect(asked["client"], asked["user"])
            case "subscribe":
                self.subscribe(asked["client"], asked["channel"], asked["events"])
            case "trigger":
                channel = self.clients[asked["client"]].channel(asked["channel"])
                channel.trigger(asked["event"], asked["data"])
            case "disconnect":
                # Its thread may look at the closed socket for seconds more.
                self.clients.pop(asked["client"]).disconnect(timeout=0.1)
        return {}

    def connect(self, name, user):
        client = pysher.Pusher(
            self.app["key"],
            secure=False,
            custom_host=self.app["host"],
            port=self.app["port"],
            secret=self.app["secret"],
            user_data={"user_id": user},
            reconnect_interval=0.1,
            auto_sub=True,
        )
        client.connection.bind(
            "pusher:connection_established",
            lambda data: say(client=name, event="connected", data=json.loads(data)),
        )
        self.clients[name] = client
        client.connect()

    def subscribe(self, name, channel, events):
        subscribed = self.clients[name].subscribe(channel)
        for event in events:
            subscribed.bind(event, lambda data, event: say(client=name, event=event, data=data), event)


def say(**line):
    with LOCK:
        print(json.dumps(line), flush=True)


def main():
    driver = Driver()
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            say(id=asked["id"], **driver.carry_out(asked))
        except Exception as error:  # pylint: disable=broad-except
            say(id=asked["id"], failed=f"{type(error).__name__}: {error}")


main()
