import assert from 'node:assert/strict';
import http from 'node:http';
import https from 'node:https';

import { certificate } from './tls.js';
import { within } from './until.js';

/** What makes requests to an address, and trusts the tests' own certificate. */
export function transport(url) {
  return String(url).startsWith('https:') ? [https, { ca: certificate().ca }] : [http, {}];
}

/**
 * One request on a connection of its own, so that no test depends on what another left behind in a pool.
 * A body that is an object goes as JSON; text and buffers go as they are.
 * @param {string} url
 * @param {{method?: string, headers?: Record<string, string>, body?: unknown, signal?: AbortSignal, ms?:
 * number}} [options]
 */
export function request(url, { method = 'GET', headers = {}, body, signal, ms } = {}) {
  const plain = typeof body === 'string' || Buffer.isBuffer(body) || body === undefined;
  const bytes = plain ? body : JSON.stringify(body);
  const type = plain ? {} : { 'content-type': 'application/json' };
  const length = bytes === undefined ? {} : { 'content-length': String(Buffer.byteLength(bytes)) };
  const done = new Promise((resolve, reject) => {
    const [client, trust] = transport(url);
    const asked = client.request(
      url,
      { ...trust, method, headers: { ...type, ...length, ...headers }, agent: false, signal },
      (response) => {
        const chunks = [];
        response.on('data', (chunk) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () =>
          resolve(new Answer(response.statusCode, response.headers, Buffer.concat(chunks).toString())),
        );
      },
    );
    asked.on('error', reject);
    asked.end(bytes);
  });
  return within(`${method} ${url}`, done, ms);
}

/** What a request was answered. */
export class Answer {
  constructor(status, headers, text) {
    this.status = status;
    this.headers = headers;
    this.text = text;
  }

  get json() {
    return JSON.parse(this.text);
  }

  /** The body, if the request was answered with this status. */
  with(status) {
    assert.equal(this.status, status, this.text);
    assert.match(this.headers['content-type'] ?? '', /^application\/json/);
    return this.json;
  }

  /** Fails unless this is a refusal in the one form that all have. */
  refused(status, code) {
    assert.equal(`${this.status} ${this.text && this.json.error?.code}`, `${status} ${code}`, this.text);
    assert.match(this.headers['content-type'], /^application\/json/);
    assert.equal(typeof this.json.error.message, 'string');
    assert.notEqual(this.json.error.message, '');
    if (status === 503 || status === 429) assert.match(this.headers['retry-after'], /^\d+$/);
    return this.json;
  }
}

/** A query of those values that are there. */
export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== undefined && value !== null);
  return given.length ? `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}` : '';
}
