"""The signatures of hooks, by the specification of Standard Webhooks: HMAC-SHA256 over the id, the time and
the body of a request."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

from encke.errors import InvalidWebhook

#: How old, or how far ahead, the time of a request may be.
TOLERANCE_S = 300
#: No time of a request has more digits.
TIME_MAX_DIGITS = 15


def verify_webhook(
    headers: Mapping[str, str],
    body: bytes,
    secrets: str | Iterable[str],
    *,
    tolerance_s: int = TOLERANCE_S,
    now: float | None = None,
) -> dict[str, Any]:
    """The JSON of a hook, if it is signed with one of these secrets (`whsec_…`) and not old.

    `body` is what came, byte by byte; `headers` may be in any case. Raises `InvalidWebhook`.
    """
    fields = {name.lower(): value for name, value in headers.items()}
    try:
        id, at, signatures = (fields[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
    except KeyError as missing:
        raise InvalidWebhook(f"the field {missing} is missing") from None
    if len(at) > TIME_MAX_DIGITS or not (at.isascii() and at.isdecimal()):
        raise InvalidWebhook("webhook-timestamp is not a time")
    # Before the signature: what is old is refused whether or not it is genuine.
    if abs((time.time() if now is None else now) - int(at)) > tolerance_s:
        raise InvalidWebhook("webhook-timestamp is too far from now")
    good = [sign_webhook(secret, id, int(at), body) for secret in _several(secrets)]
    found = [hmac.compare_digest(_bytes(a), _bytes(b)) for a in good for b in signatures.split(" ")]
    if not any(found):
        raise InvalidWebhook("no signature is of these secrets")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidWebhook("the body is not JSON") from None
    if not isinstance(value, dict):
        raise InvalidWebhook("the body is not an object")
    return value


def sign_webhook(secret: str, id: str, at_s: int, body: bytes) -> str:
    """The signature of a request, for tests of an endpoint."""
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        key = b""
    if not key:
        raise ValueError("a secret is whsec_ and Base64")
    signed = _bytes(f"{id}.{at_s}.") + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def _bytes(field: str) -> bytes:
    """A server may have read bytes of a field as surrogates, which are no text."""
    return field.encode(errors="surrogatepass")


def _several(secrets: str | Iterable[str]) -> list[str]:
    several = [secrets] if isinstance(secrets, str) else list(secrets)
    if not several or not all(several):
        raise ValueError("there is no secret")
    return several
