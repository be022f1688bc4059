// The library of Encke for backends in Node: pushes, channels, receipts, tokens, hooks. The client for pages
// is the package `encke`.
export { Client } from './src/client.js';
export { ApiError, EnckeError, InvalidWebhook, TransportError } from './src/errors.js';
export { signToken } from './src/tokens.js';
export { signWebhook, verifyWebhook } from './src/webhooks.js';
