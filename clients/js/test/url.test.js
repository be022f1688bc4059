import assert from 'node:assert/strict';
import { test } from 'node:test';
import { safeUrl } from '../encke.js';

test('http and https are shown, in their normal form', () => {
  assert.equal(safeUrl('https://example.com/a?b#c'), 'https://example.com/a?b#c');
  assert.equal(safeUrl('HTTP://Example.COM'), 'http://example.com/');
  assert.equal(safeUrl('http://127.0.0.1:8080/x'), 'http://127.0.0.1:8080/x');
  assert.equal(safeUrl('https:\\\\example.com\\a'), 'https://example.com/a');
});

test('everything else is refused', () => {
  const bad = [
    'javascript:alert(1)',
    'JaVaScRiPt:alert(1)',
    ' javascript:alert(1)',
    'java\tscript:alert(1)',
    'java\nscript:alert(1)',
    'java\r\nscript:alert(1)',
    '\u0001javascript:alert(1)',
    'javascript\u0000:alert(1)',
    'javascript://example.com/%0aalert(1)',
    'data:text/html,<script>alert(1)</script>',
    'DATA:text/html,x',
    'vbscript:msgbox(1)',
    'blob:https://example.com/1',
    'file:///etc/passwd',
    'about:blank',
    'about:srcdoc',
    'filesystem:https://a/b',
    'view-source:https://a',
    'ws://a',
    'ftp://a',
    'mailto:a@b',
    '',
    '/relative',
    '//example.com',
    'example.com',
    'http://',
    'https://',
    'http:// a',
    'https://exa\nmple.com',
    ' https://example.com',
    'https://example.com\u0000',
    null,
    undefined,
    7,
    {},
    ['https://example.com'],
    { toString: () => 'https://example.com' },
  ];
  for (const url of bad) assert.equal(safeUrl(url), null, String(url));
});
