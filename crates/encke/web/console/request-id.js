/** Names by which the server knows that it has had a request. Not what is sent. */

const ID_BYTES = 12;

/** A name that no other request has. */
export const newRequestId = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(ID_BYTES)), (byte) =>
    byte.toString(16).padStart(2, '0'),
  ).join('');

/** The name of what is sent again until it succeeds: the same thing has the same name. */
export class RequestId {
  #sent = '';
  #id = '';

  /** @param {...unknown} sent all that makes it the same thing */
  of(...sent) {
    const now = JSON.stringify(sent);
    if (this.#sent !== now) [this.#sent, this.#id] = [now, newRequestId()];
    return this.#id;
  }

  /** It was accepted: what is sent from now on is another, even if it is alike. */
  accepted() {
    this.#sent = '';
  }
}
