"""The library of Encke for backends: pushes, channels, receipts, tokens, hooks. The asynchronous client is in
`encke.aio`. What users' own programs and pages need, is not here."""

from encke.calls import ALL, ONLINE
from encke.client import Client
from encke.errors import ApiError, EnckeError, InvalidWebhook, TransportError
from encke.records import Accepted, Message, Published, Push, Pushed, Receipt, User
from encke.tokens import sign_token
from encke.webhooks import sign_webhook, verify_webhook

__all__ = [
    "ALL",
    "ONLINE",
    "Accepted",
    "ApiError",
    "Client",
    "EnckeError",
    "InvalidWebhook",
    "Message",
    "Published",
    "Push",
    "Pushed",
    "Receipt",
    "TransportError",
    "User",
    "sign_token",
    "sign_webhook",
    "verify_webhook",
]
