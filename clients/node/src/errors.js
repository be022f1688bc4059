// What can go wrong.

/** The base of all errors of this library; `code` tells them apart. */
export class EnckeError extends Error {
  constructor(code, message, options) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

/** The server refused a request. `status` is 0 for one of several requests in a call. */
export class ApiError extends EnckeError {
  constructor(status, code, message, retryAfterS) {
    super(code, message);
    this.status = status;
    this.retryAfterS = retryAfterS;
  }

  /** What an answer says that is not the expected one. */
  static of(status, retryAfter, text) {
    const after = /^\d+$/.test(retryAfter ?? '') ? Number(retryAfter) : undefined;
    try {
      const { code, message } = JSON.parse(text).error;
      return new ApiError(status, String(code), String(message), after);
    } catch {
      return new ApiError(status, 'unexpected_answer', `status ${status}: ${text.slice(0, 200)}`, after);
    }
  }
}

/** There was no answer. Whether the request was carried out is not known. */
export class TransportError extends EnckeError {
  constructor(message, cause) {
    super('no_answer', message, { cause });
  }
}

/** A request is not a hook of the server, or an old one. */
export class InvalidWebhook extends EnckeError {
  constructor(message) {
    super('invalid_webhook', message);
  }
}
