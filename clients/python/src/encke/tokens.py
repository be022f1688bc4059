"""The tokens by which users prove who they are: JWT (RFC 7519), signed with HS256 by the secret that the
server has as `auth.token_secret`. For other algorithms take a library for JWT."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Sequence
from typing import Any

#: RFC 7518 section 3.2.
SECRET_MIN_BYTES = 32


def sign_token(
    secret: str,
    user: str,
    *,
    ttl_s: int = 3600,
    channels: Sequence[str] | None = None,
    publish: Sequence[str] | None = None,
    claims: dict[str, Any] | None = None,
) -> str:
    """A token for this user, good for `ttl_s` seconds.

    `channels` and `publish` are patterns of what the user may follow and publish to (`*` stands for any run
    of characters). `claims` are further ones: `iss` and `aud` where the server asks for them, `jti` by which
    this token can be revoked.
    """
    if len(secret.encode()) < SECRET_MIN_BYTES:
        raise ValueError(f"the secret has to have at least {SECRET_MIN_BYTES} bytes")
    now = int(time.time())
    body: dict[str, Any] = {**(claims or {}), "sub": user, "iat": now, "exp": now + ttl_s}
    if channels is not None:
        body["channels"] = list(channels)
    if publish is not None:
        body["publish"] = list(publish)
    signed = f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part(body)}"
    signature = hmac.digest(secret.encode(), signed.encode(), "sha256")
    return f"{signed}.{_base64url(signature)}"


def _part(value: dict[str, Any]) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode())


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
