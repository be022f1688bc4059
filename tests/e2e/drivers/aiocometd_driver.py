"""The client aiocometd-ng, driven by lines of JSON; support/driver.js has the other side and says what the
lines are. It only calls the client, and knows nothing of what a test expects.

The client has no extension `ack` of its own, but the place for one, which is used as an application would.
"""

import asyncio
import json
import sys

from aiocometd_ng import Client, ConnectionType, Extension


class Acknowledging(Extension):
    """Brings the token, acknowledges what has come, and tells of handshakes."""

    def __init__(self, name, token):
        self.name = name
        self.token = token
        self.batch = 0

    async def outgoing(self, payload, headers):
        for message in payload:
            if message["channel"] == "/meta/handshake":
                message["ext"] = {"ack": True, "token": self.token}
            elif message["channel"] == "/meta/connect":
                message["ext"] = {"ack": self.batch}

    async def incoming(self, payload, headers=None):
        for message in payload:
            if message["channel"] == "/meta/handshake" and message.get("successful"):
                self.batch = 0
                say(client=self.name, handshake=message["clientId"])
            elif message["channel"] == "/meta/connect" and message.get("successful"):
                self.batch = message.get("ext", {}).get("ack", self.batch)


class Driver:
    """All clients of this program."""

    def __init__(self):
        self.clients = {}
        self.receiving = {}

    async def carry_out(self, asked):
        name = asked["client"]
        client = self.clients.get(name)
        match asked["do"]:
            case "open":
                await self.open(name, asked)
            case "subscribe":
                await client.subscribe(asked["channel"])
            case "unsubscribe":
                await client.unsubscribe(asked["channel"])
            case "publish":
                await client.publish(asked["channel"], asked["data"])
            case "close":
                self.receiving.pop(name).cancel()
                await client.close()
        return {"transport": self.clients[name].connection_type.value}

    async def open(self, name, asked):
        # Its own time limit on connections is given up: it calls asyncio in a way that has been removed.
        client = Client(
            asked["url"] + "/cometd",
            ConnectionType(asked["transport"]),
            connection_timeout=0,
            extensions=[Acknowledging(name, asked["token"])],
        )
        await client.open()
        self.clients[name] = client
        self.receiving[name] = asyncio.create_task(receive(name, client))


async def receive(name, client):
    """Tells of all that comes."""
    async for message in client:
        say(client=name, channel=message["channel"], data=message["data"])


def say(**line):
    print(json.dumps(line), flush=True)


async def answer(driver, asked):
    try:
        say(id=asked["id"], **await driver.carry_out(asked))
    except Exception as error:  # pylint: disable=broad-except
        say(id=asked["id"], failed=repr(error))


async def main():
    driver = Driver()
    tasks = set()
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    while line := await lines.readline():
        task = asyncio.create_task(answer(driver, json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


asyncio.run(main())
