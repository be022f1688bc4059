/** Bytes out of base64 as addresses have it, without padding. */

/** @param {string} text @returns {Uint8Array} it throws when it is none */
export const bytesOf = (text) =>
  Uint8Array.from(atob(text.replace(/-/g, '+').replace(/_/g, '/')), (char) => char.charCodeAt(0));
