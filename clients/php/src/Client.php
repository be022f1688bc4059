<?php
// The server API over the curl extension: what each call sends, what its answer becomes, and when it is sent
// again.
declare(strict_types=1);

namespace Encke;

final class Client
{
    /** Refusals after which the same request may do better. */
    private const STATUSES_TO_REPEAT = [429, 502, 503, 504];
    private const PAUSE_MS = 250;
    private const PAUSE_MAX_MS = 5000;
    /** A server that wants a longer pause has its way with the caller, who is told. */
    private const RETRY_AFTER_MAX_S = 10;
    /** Receipts are asked for in pages of this size. */
    private const PAGE = 1000;

    /** libcurl's CURL_READFUNC_ABORT, which PHP does not name. */
    private const READ_ABORT = 0x10000000;

    private \CurlHandle $curl;

    /**
     * @param int $timeoutMs how long an answer may take
     * @param int $retries how often a request is repeated that does no harm when it comes twice
     */
    public function __construct(
        private readonly string $url,
        private readonly string $apiKey,
        private readonly int $timeoutMs = 10_000,
        private readonly int $retries = 2,
    ) {
        if (!preg_match('~^https?://[^/]~', $url)) {
            throw new \InvalidArgumentException("$url is no http or https address");
        }
        // It keeps its connection from one request to the next.
        $this->curl = curl_init();
    }

    /**
     * Pushes data or a page to users, who get it at once or at their next login.
     * @param array{to: list<string>|'all'|'online', url?: string, show?: 'frame'|'window', data?: mixed,
     * ttl_s?: int, id?: string} $push `show` says what the page is shown in: a frame, unless it says `window`;
     * `id` is the idempotency key: the same push under the same key is accepted once
     * @return array{id: string, mode: string, accepted: int, online: list<string>, offline: list<string>}
     */
    public function push(array $push): array
    {
        return $this->send('POST', '/api/push', self::keyed($push));
    }

    /**
     * Up to 1,000 pushes in one request. A refusal is the result of its push alone, and is not thrown.
     * @return list<array{id: string, accepted: int, online: int, offline: int}|EnckeException>
     */
    public function pushMany(array $pushes): array
    {
        $body = ['pushes' => array_map(self::keyed(...), $pushes)];
        return self::results($this->send('POST', '/api/push', $body));
    }

    /**
     * Any number of pushes over one connection, with a result each, in their order. It is not repeated.
     * @param iterable<array> $pushes are read as they are sent; a source that rests for longer than `timeoutMs`
     * ends the stream
     * @param callable(array|EnckeException): void $result is called with each result, as soon as it comes
     */
    public function pushStream(iterable $pushes, callable $result): void
    {
        $this->stream('/api/push', $pushes, $result);
    }

    /**
     * Publishes data to all who follow a channel.
     * @param array{channel: string, data: mixed, id?: string} $message
     * @return array{id: string, offset: int, epoch: string, mode: string}
     */
    public function publish(array $message): array
    {
        return $this->send('POST', '/api/publish', self::keyed($message));
    }

    /**
     * Up to 128 messages in one request.
     * @return list<array{id: string, offset: int, epoch: string}|EnckeException>
     */
    public function publishMany(array $messages): array
    {
        $body = ['messages' => array_map(self::keyed(...), $messages)];
        return self::results($this->send('POST', '/api/publish', $body));
    }

    /** As `pushStream`. */
    public function publishStream(iterable $messages, callable $result): void
    {
        $this->stream('/api/publish', $messages, $result);
    }

    /**
     * What became of a push, with each of its users.
     * @return \Generator<array{user: string, state: string, time: string}>
     */
    public function receipts(string $id): \Generator
    {
        $query = ['limit' => self::PAGE];
        do {
            $page = $this->send('GET', '/api/push/' . rawurlencode($id) . '?' . http_build_query($query));
            foreach ($page['receipts'] as $receipt) {
                yield $receipt;
            }
            $query['after'] = $page['next'] ?? null;
        } while ($query['after'] !== null);
    }

    /** Calls a push back where it is still queued; gives for how many users. */
    public function cancel(string $id): int
    {
        return $this->send('DELETE', '/api/push/' . rawurlencode($id))['cancelled'];
    }

    /** @return array{id: string, online: bool, sessions: int, first_seen: ?string, last_seen: ?string} */
    public function user(string $id): array
    {
        return $this->send('GET', '/api/users/' . rawurlencode($id));
    }

    /**
     * Ends the sessions of a user, or one session; gives how many. It is not repeated by itself: that would
     * close who has come back meanwhile.
     * @param array{user?: string, session?: string, reason?: string, reconnect?: bool, ban_s?: int} $of
     */
    public function close(array $of): int
    {
        return $this->send('POST', '/api/close', $of, isRepeatable: false)['closed'];
    }

    /**
     * Takes tokens back: of a user, by id, or all that were issued before a time (RFC 3339), which for a user
     * is now, by this machine's clock, if it is not said; gives how many sessions ended with them.
     * @param array{user?: string, jti?: string, before?: string} $of
     */
    public function revoke(array $of): int
    {
        if (isset($of['user'])) {
            // Said now, so that a repeat spares the tokens that are issued until then.
            $of['before'] ??= (new \DateTimeImmutable())->format('Y-m-d\TH:i:s.uP');
        }
        return $this->send('POST', '/api/revoke', $of)['closed'];
    }

    /** Any other request of the server API. A POST is not repeated. */
    public function request(string $method, string $path, ?array $body = null): array
    {
        return $this->send($method, $path, $body, $method !== 'POST');
    }

    private function send(string $method, string $path, ?array $body = null, bool $isRepeatable = true): array
    {
        for ($attempt = 0; ; $attempt++) {
            try {
                return $this->once($method, $path, $body);
            } catch (EnckeException $error) {
                $pauseMs = self::pauseMs($attempt, $error);
                if ($attempt >= $this->retries || !$isRepeatable || $pauseMs === null) {
                    throw $error;
                }
                usleep($pauseMs * 1000);
            }
        }
    }

    private function once(string $method, string $path, ?array $body): array
    {
        $retryAfterS = null;
        $options = [CURLOPT_CUSTOMREQUEST => $method, CURLOPT_TIMEOUT_MS => $this->timeoutMs];
        if ($body !== null) {
            $options[CURLOPT_POSTFIELDS] = self::json($body);
        }
        $type = $body === null ? [] : ['Content-Type: application/json'];
        $this->prepare($path, $type, $options, $retryAfterS);
        curl_setopt($this->curl, CURLOPT_RETURNTRANSFER, true);
        $text = curl_exec($this->curl);
        if ($text === false) {
            throw $this->noAnswer();
        }
        $status = curl_getinfo($this->curl, CURLINFO_RESPONSE_CODE);
        $answer = $status < 300 ? json_decode($text, true) : null;
        return is_array($answer) ? $answer : throw EnckeException::of($status, $text, $retryAfterS);
    }

    private function stream(string $path, iterable $requests, callable $result): void
    {
        $retryAfterS = null;
        $source = (static fn () => yield from $requests)();
        [$out, $in, $sent, $failure] = ['', '', 0, null];
        $read = static function ($curl, $file, int $max) use ($source, &$out, &$sent, &$failure): string|int {
            try {
                if ($out === '' && $source->valid()) {
                    $out = self::json($source->current()) . "\n";
                    $source->next();
                    $sent++;
                }
            } catch (\Throwable $error) {
                $failure = $error;
                return self::READ_ABORT;
            }
            $part = substr($out, 0, $max);
            $out = substr($out, strlen($part));
            return $part;
        };
        $write = function ($curl, string $text) use ($result, &$in, &$sent): int {
            $in .= $text;
            if (curl_getinfo($curl, CURLINFO_RESPONSE_CODE) < 300) {
                $lines = explode("\n", $in);
                $in = array_pop($lines);
                foreach ($lines as $line) {
                    $sent--;
                    $result(self::result(json_decode($line, true) ?? throw EnckeException::of(202, $line)));
                }
            }
            return strlen($text);
        };
        $this->prepare($path, ['Content-Type: application/x-ndjson', 'Expect:'], [
            CURLOPT_UPLOAD => true,
            CURLOPT_CUSTOMREQUEST => 'POST',
            CURLOPT_READFUNCTION => $read,
            CURLOPT_WRITEFUNCTION => $write,
            // A stream has no end in time; a server that is silent for this long is gone.
            CURLOPT_LOW_SPEED_LIMIT => 1,
            CURLOPT_LOW_SPEED_TIME => max(1, intdiv($this->timeoutMs, 1000)),
        ], $retryAfterS);
        $isDone = curl_exec($this->curl);
        if ($failure !== null) {
            throw $failure;
        }
        $status = curl_getinfo($this->curl, CURLINFO_RESPONSE_CODE);
        if ($status >= 300) {
            throw EnckeException::of($status, $in, $retryAfterS);
        }
        if (!$isDone || $sent !== 0) {
            throw $this->noAnswer();
        }
    }

    /** Sets what all requests have; the last argument is given what `Retry-After` says. */
    private function prepare(string $path, array $headers, array $options, ?int &$retryAfterS): void
    {
        // The connection stays.
        curl_reset($this->curl);
        curl_setopt_array($this->curl, $options + [
            CURLOPT_URL => rtrim($this->url, '/') . $path,
            CURLOPT_PROTOCOLS => CURLPROTO_HTTP | CURLPROTO_HTTPS,
            CURLOPT_HTTPHEADER => ["Authorization: Bearer $this->apiKey", ...$headers],
            CURLOPT_USERAGENT => 'encke-php/0.1.0',
            CURLOPT_CONNECTTIMEOUT_MS => $this->timeoutMs,
            CURLOPT_HEADERFUNCTION => static function ($curl, string $line) use (&$retryAfterS): int {
                if (preg_match('/^retry-after: *(\d{1,9})\s*$/i', $line, $found)) {
                    $retryAfterS = (int) $found[1];
                }
                return strlen($line);
            },
        ]);
    }

    private function noAnswer(): EnckeException
    {
        return new EnckeException('no_answer', curl_error($this->curl) ?: 'the stream broke off');
    }

    /** How long to wait before the next attempt; null if there is to be none. */
    private static function pauseMs(int $attempt, EnckeException $error): ?int
    {
        $isRefusal = in_array($error->status, self::STATUSES_TO_REPEAT, true);
        $isWorth = $isRefusal || $error->errorCode === 'no_answer';
        if (!$isWorth || $error->retryAfterS > self::RETRY_AFTER_MAX_S) {
            return null;
        }
        $ms = min(self::PAUSE_MS * 2 ** $attempt, self::PAUSE_MAX_MS);
        return 1000 * (int) $error->retryAfterS + random_int(intdiv($ms, 2), $ms);
    }

    /** The same with an idempotency key, so that it can be sent again. */
    private static function keyed(array $request): array
    {
        return $request + ['id' => bin2hex(random_bytes(16))];
    }

    private static function results(array $answer): array
    {
        return array_map(self::result(...), $answer['results']);
    }

    private static function result(array $result): array|EnckeException
    {
        $error = $result['error'] ?? null;
        return $error ? new EnckeException($error['code'], $error['message']) : $result;
    }

    private static function json(array $value): string
    {
        return json_encode($value, JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES);
    }
}
