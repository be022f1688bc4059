"""What tests/openapi checks besides requests: both documents are valid, their examples fit their schemas, and
so does what a stream and a WebSocket carry. Arguments: the server's address, a user's token, the JSON schema
of AsyncAPI 3."""

import asyncio
import json
import os
import sys
import urllib.request

import jsonschema_rs
import openapi_spec_validator
import websockets

address, token, specification = sys.argv[1:]
# Everything here is answered at once; a server that does not answer is a fault.
WITHIN_S = 20


def get(path):
    with urllib.request.urlopen(address + path, timeout=WITHIN_S) as answer:
        return json.load(answer)


openapi, asyncapi = get("/api/openapi.json"), get("/api/asyncapi.json")
openapi_spec_validator.validate(openapi)
jsonschema_rs.validator_for(json.load(open(specification))).validate(asyncapi)


def validator(document, schema):
    """Checks values by a schema whose references are to its document, in the dialect of that."""
    dialect = jsonschema_rs.Draft7Validator if document is asyncapi else jsonschema_rs.Draft202012Validator
    return dialect({**schema, "components": document["components"]}, validate_formats=True)


def contents():
    """Every body that is described, with its place."""
    for path, item in openapi["paths"].items():
        for method, operation in item.items():
            bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
            for body in bodies:
                for content in body.get("content", {}).values():
                    yield f"{method} {path}", content


checked = 0
for place, content in contents():
    examples = [example["value"] for example in content.get("examples", {}).values()]
    examples += [content["example"]] if "example" in content else []
    for example in examples:
        validator(openapi, content["schema"]).validate(example)
        checked += 1
messages = asyncapi["components"]["messages"]
payloads = {name: validator(asyncapi, message["payload"]) for name, message in messages.items()}
for name, message in messages.items():
    for example in message["examples"]:
        payloads[name].validate(example["payload"])
        checked += 1
    # A schema that takes anything checks nothing.
    assert not payloads[name].is_valid({}), name
# The vectors of the short form that all clients share fit, each by its first element.
for vector in json.load(open("tests/vectors/short.json")):
    short = json.loads(vector["short"])
    name = "shortPublic" if isinstance(short[0], str) else "shortOwn"
    assert [one for one in ("shortOwn", "shortPublic") if payloads[one].is_valid(short)] == [name], vector
    checked += 1
print(f"documents are valid, {checked} examples and vectors fit")

bearer = {"Authorization": f"Bearer {token}"}
refused = validator(asyncapi, {"$ref": "#/components/schemas/ErrorDetail"})
results = {
    "subscribe": "Followed", "unsubscribe": "Followed", "publish": "Published",
    "ack": "Done", "refresh": "Refreshed", "ping": "Done", "close": "SessionClosed",
}


async def exchange():
    """Sends the example of each command, and checks all that comes."""
    seen = set()
    target = address.replace("http", "ws", 1) + "/v1/ws?channels=room%3A7"
    async with websockets.connect(target, additional_headers=bearer) as socket:
        for name in [f"{command}Command" for command in results]:
            command = messages[name]["examples"][0]["payload"]
            if "token" in command:
                command = {**command, "token": token}
            await socket.send(json.dumps(command))
            while True:
                event = json.loads(await asyncio.wait_for(socket.recv(), WITHIN_S))
                payloads[event["event"]].validate(event)
                seen.add(event["event"])
                if event["event"] == "reply":
                    assert event["id"] == command["id"] and "error" not in event, event
                    result = {"$ref": "#/components/schemas/" + results[command["do"]]}
                    validator(asyncapi, result).validate(event["result"])
                    break
                if event["event"] == "close":
                    break
            if event["event"] == "close":
                break
        else:
            # The last command has closed the session.
            event = json.loads(await asyncio.wait_for(socket.recv(), WITHIN_S))
            payloads[event["event"]].validate(event)
            seen.add(event["event"])
    return seen


def push(user):
    """Pushes something to a user, as a backend does."""
    key = {"Authorization": f"Bearer {os.environ['ENCKE_API_KEY']}", "Content-Type": "application/json"}
    body = json.dumps({"to": [user], "data": {"text": "hello"}}).encode()
    request = urllib.request.Request(address + "/api/push", data=body, headers=key)
    urllib.request.urlopen(request, timeout=WITHIN_S).close()


async def exchange_short():
    """Receives a push and a message of a channel in the short form."""
    wanted = {"shortOwn", "shortPublic"}
    target = address.replace("http", "ws", 1) + "/v1/ws?form=short&channels=room%3A7"
    async with websockets.connect(target, additional_headers=bearer) as socket:
        await socket.send(json.dumps(messages["publishCommand"]["examples"][0]["payload"] | {"key": "short"}))
        await asyncio.to_thread(push, "alice")
        while wanted:
            value = json.loads(await asyncio.wait_for(socket.recv(), WITHIN_S))
            if isinstance(value, dict):
                payloads[value["event"]].validate(value)
                continue
            name = "shortPublic" if isinstance(value[0], str) else "shortOwn"
            payloads[name].validate(value)
            wanted.discard(name)


def listen(path):
    """The first event of a stream."""
    request = urllib.request.Request(address + path, headers=bearer)
    with urllib.request.urlopen(request, timeout=WITHIN_S) as answer:
        for line in answer:
            text = line.decode().removeprefix("data:").strip()
            if text.startswith("{"):
                event = json.loads(text)
                payloads[event["event"]].validate(event)
                return event["event"]
    raise AssertionError(f"{path} has no event")


seen = asyncio.run(exchange())
assert seen >= {"open", "message", "reply", "close"}, seen
assert listen("/v1/sse") == "open" and listen("/v1/stream?as=ndjson") == "open"
asyncio.run(exchange_short())
events = {
    "open", "message", "shortOwn", "shortPublic", "gap", "unsubscribed", "expiring", "close", "heartbeat",
    "reply",
}
assert set(messages) == {f"{name}Command" for name in results} | events
print(f"events are as described: {', '.join(sorted(seen))}")
