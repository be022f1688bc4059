"""What Schemathesis is taught beside its own: bodies of one request a line (`application/x-ndjson`)."""

import json

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(_context, value):
    """One line. What is generated is a request; a stream of one answers it like any other."""
    return json.dumps(value).encode() + b"\n"


@schemathesis.deserializer("application/x-ndjson")
def results(_context, response):
    """The result of that line."""
    return json.loads(response.content)
