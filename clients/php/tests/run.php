<?php
// The tests of the library, against a real server: functions that throw when something is wrong.
declare(strict_types=1);

use Encke\{Client, EnckeException, Token, Webhook};

spl_autoload_register(function (string $class): void {
    require __DIR__ . '/../src/' . basename(strtr($class, '\\', '/')) . '.php';
});
set_error_handler(fn (int $level, string $what) => throw new ErrorException($what));

define('URL', getenv('ENCKE_URL'));
define('API_KEY', getenv('ENCKE_API_KEY'));
define('SECRET', getenv('ENCKE_TOKEN_SECRET'));
define('FAULTY_URL', getenv('ENCKE_FAULTY_URL'));

function same(mixed $got, mixed $want): void
{
    if ($got !== $want) {
        throw new Exception(json_encode($got) . ' instead of ' . json_encode($want));
    }
}

/** Fails unless the call does, with this code and status. */
function refused(string $code, int $status, callable $call): void
{
    try {
        $call();
    } catch (EnckeException $error) {
        same([$error->errorCode, $error->status], [$code, $status]);
        return;
    }
    throw new Exception("it was not refused with $code");
}

/** Fails unless the call throws an exception of this class. */
function raised(string $class, callable $call): void
{
    try {
        $call();
    } catch (Throwable $error) {
        same(get_class($error), $class);
        return;
    }
    throw new Exception("$class was not thrown");
}

/** A name that no other test has. */
function name(string $prefix = 'user'): string
{
    return $prefix . '-' . bin2hex(random_bytes(12));
}

function faulty(string $fault, string $of, int $timeoutMs = 10_000, int $retries = 2): Client
{
    return new Client(FAULTY_URL . "/$fault/$of", API_KEY, $timeoutMs, $retries);
}

function get(string $address, string $token = ''): array
{
    $context = stream_context_create(['http' => [
        'header' => "Authorization: Bearer $token", 'ignore_errors' => true, 'timeout' => 20,
    ]]);
    return (array) json_decode(file_get_contents($address, false, $context), true);
}

/** How many requests came to this name at the faulty front. */
function requestsTo(string $of): int
{
    return get(FAULTY_URL . "/count/$of/")[0];
}

/** What the requests said that came to this name at the faulty front. */
function bodiesTo(string $of): array
{
    return array_map(fn (string $body) => json_decode($body, true), get(FAULTY_URL . "/bodies/$of/"));
}

/** A user who polls. */
final class Viewer
{
    public readonly string $token;
    private array $at = ['cursor' => 'earliest'];

    public function __construct(public readonly string $user, mixed ...$options)
    {
        $this->token = Token::sign(SECRET, $user, ...$options);
    }

    public function ask(array $query = []): array
    {
        return get(URL . '/v1/poll?' . http_build_query($query + $this->at + ['hold_s' => 0]), $this->token);
    }

    public function poll(array $query = []): array
    {
        $answer = $this->ask($query);
        $this->at = ['cursor' => $answer['cursor'], 'session' => $answer['session']];
        return $answer;
    }

    /** The data of so many messages, and of those that came too many. */
    public function data(int $count): array
    {
        $found = [];
        while ($messages = $this->poll(['hold_s' => count($found) < $count ? 5 : 0])['messages']) {
            array_push($found, ...array_column($messages, 'data'));
        }
        return $found;
    }
}

$encke = new Client(URL, API_KEY);

$tests = [
    'a push comes and has receipts' => function () use ($encke) {
        [$alice, $bob] = [new Viewer(name()), new Viewer(name())];
        $alice->poll();
        $push = ['to' => [$alice->user, $bob->user], 'data' => ['text' => 'Zoë'], 'ttl_s' => 60];
        $pushed = $encke->push($push);
        same([$pushed['accepted'], $pushed['online'], $pushed['offline']], [2, [$alice->user], [$bob->user]]);
        same($alice->data(1), [['text' => 'Zoë']]);
        same($encke->cancel($pushed['id']), 1);
        same($bob->data(0), []);
        $states = array_column(iterator_to_array($encke->receipts($pushed['id']), false), 'state', 'user');
        same($states[$bob->user], 'cancelled');
        same($encke->user($alice->user)['online'], true);
    },
    'receipts come in pages' => function () use ($encke) {
        $users = array_map(fn () => name(), range(1, 1001));
        $pushed = $encke->push(['to' => $users, 'data' => 1]);
        same(count(iterator_to_array($encke->receipts($pushed['id']), false)), 1001);
    },
    'many in one request have a result each' => function () use ($encke) {
        $alice = new Viewer(name());
        $push = ['to' => [$alice->user], 'data' => 1];
        [$good, $bad] = $encke->pushMany([$push, ['to' => [], 'data' => 2], $push]);
        same([$good['accepted'], $good['offline'], $bad->errorCode, $bad->status], [1, 1, 'bad_request', 0]);
        same($alice->data(2), [1, 1]);
    },
    'a stream has a result for each line in order' => function () use ($encke) {
        $alice = new Viewer(name());
        $pushes = (function () use ($alice) {
            for ($n = 0; $n < 1000; $n++) {
                yield ['to' => $n === 500 ? [] : [$alice->user], 'data' => $n];
            }
        })();
        $results = [];
        $encke->pushStream($pushes, function ($result) use (&$results) { $results[] = $result; });
        same(count($results), 1000);
        same(array_keys(array_filter($results, fn ($one) => $one instanceof EnckeException)), [500]);
        same($alice->data(999), array_values(array_diff(range(0, 999), [500])));
    },
    'a stream that fails says so' => function () use ($encke) {
        $pushes = array_fill(0, 200, ['to' => ['alice'], 'data' => 1]);
        $nothing = fn () => null;
        foreach (['broken', 'ended'] as $fault) {
            refused('no_answer', 0, fn () => faulty($fault, name())->pushStream($pushes, $nothing));
        }
        refused('no_answer', 0, fn () => faulty('silent', name(), 1000)->pushStream($pushes, $nothing));
        refused('unauthorized', 401, fn () => (new Client(URL, 'wrong'))->pushStream($pushes, $nothing));
        $source = (function () use ($pushes) {
            yield $pushes[0];
            throw new DomainException('my own');
        })();
        try {
            $encke->pushStream($source, $nothing);
        } catch (DomainException $error) {
            return same($error->getMessage(), 'my own');
        }
        throw new Exception('the error of the source is lost');
    },
    'a stream whose answer does not end says so' => function () {
        $pushes = [['to' => ['alice'], 'data' => 1]];
        refused('no_answer', 0, fn () => faulty('endless', name(), 1000)->pushStream($pushes, fn () => null));
    },
    'channels' => function () use ($encke) {
        $channel = name('news');
        $alice = new Viewer(name(), channels: ['news-*']);
        $alice->poll(['channels' => $channel]);
        $first = $encke->publish(['channel' => $channel, 'data' => 1]);
        $messages = [['channel' => $channel, 'data' => 2], ['channel' => $channel, 'data' => 3]];
        $many = $encke->publishMany($messages);
        $streamed = [];
        $lines = [['channel' => $channel, 'data' => 4], ['channel' => '', 'data' => 5]];
        $encke->publishStream($lines, function ($result) use (&$streamed) { $streamed[] = $result; });
        same([$first['offset'], $many[1]['offset'], $streamed[1]->errorCode], [1, 3, 'bad_name']);
        same($alice->data(4), [1, 2, 3, 4]);
    },
    'the same key is accepted once' => function () use ($encke) {
        $alice = new Viewer(name());
        $push = ['to' => [$alice->user], 'data' => 1, 'id' => $alice->user];
        same($encke->push($push)['id'], $encke->push($push)['id']);
        same($alice->data(1), [1]);
        refused('key_reused', 409, fn () => $encke->push(['data' => 2] + $push));
    },
    'tokens say what they grant and can be revoked' => function () use ($encke) {
        $stranger = new Viewer(name(), channels: ['other']);
        same($stranger->ask(['channels' => 'news'])['error']['code'], 'channel_forbidden');
        $jti = name();
        $ways = [
            [new Viewer(name(), claims: ['jti' => $jti]), ['jti' => $jti]],
            [new Viewer($jti), ['user' => $jti]],
        ];
        foreach ($ways as [$alice, $of]) {
            $alice->poll();
            same($encke->revoke($of), 1);
            same($alice->ask()['error']['code'], 'revoked');
        }
    },
    'a repeated revocation is of the time of the call' => function () {
        [$of, $another, $from] = [name(), name(), new DateTimeImmutable()];
        faulty('lost', $of)->revoke(['user' => name()]);
        [$first, $second] = bodiesTo($of);
        same($first, $second);
        $before = new DateTimeImmutable($first['before']);
        same($from <= $before && $before <= new DateTimeImmutable(), true);
        $body = ['user' => $another, 'before' => '2026-01-02T03:04:05Z'];
        faulty('lost', $another)->revoke($body);
        same(bodiesTo($another), [$body, $body]);
    },
    'close ends sessions' => function () use ($encke) {
        $alice = new Viewer(name());
        same($encke->close(['session' => $alice->poll()['session'], 'reason' => 'done']), 1);
        same($encke->close(['user' => $alice->user]), 0);
        same($alice->ask()['error']['code'], 'session_closed');
    },
    'errors have codes' => function () use ($encke) {
        $push = ['to' => ['alice'], 'data' => 1];
        refused('unauthorized', 401, fn () => (new Client(URL, 'wrong'))->push($push));
        refused('bad_request', 400, fn () => $encke->push(['to' => 'alice', 'data' => 1]));
        refused('push_unknown', 404, fn () => $encke->cancel('nothing/of that?'));
        refused('user_unknown', 404, fn () => $encke->user(name('a/b?c')));
        refused('unexpected_answer', 200, fn () => faulty('html', name())->push($push));
        refused('unexpected_answer', 307, fn () => faulty('moved', name())->push($push));
        refused('no_answer', 0, fn () => (new Client('http://127.0.0.1:1', API_KEY, 500, 0))->push($push));
        same($encke->request('GET', '/api/sessions?user=' . name())['sessions'], []);
    },
    'what is lost is sent again under one key' => function () {
        foreach (['lost', 'busy', 'proxy'] as $fault) {
            $alice = new Viewer(name());
            faulty($fault, $alice->user)->push(['to' => [$alice->user], 'data' => 1]);
            same([$alice->data(1), requestsTo($alice->user)], [[1], 2]);
        }
    },
    'what is not safe is sent once, and attempts come to an end' => function () {
        [$one, $two, $push] = [name(), name(), ['to' => ['alice'], 'data' => 1]];
        refused('no_answer', 0, fn () => faulty('lost', $one)->close(['user' => name()]));
        same(requestsTo($one), 1);
        refused('no_answer', 0, fn () => faulty('gone', $two, retries: 1)->push($push));
        same(requestsTo($two), 2);
        refused('no_answer', 0, fn () => faulty('silent', name(), 200, 0)->push($push));
    },
    'vectors of webhooks' => function () {
        $vectors = json_decode(file_get_contents(__DIR__ . '/../../../tests/vectors/webhooks.json'), true);
        same(count($vectors) > 20, true);
        foreach ($vectors as $one) {
            $verify = fn () => Webhook::verify($one['headers'], $one['body'], $one['secrets'], $one['now']);
            if ($one['good']) {
                same($verify(), json_decode($one['body'], true));
            } elseif ($one['bad_secret'] ?? false) {
                // A secret that is none is the caller's mistake, not the request's.
                raised(InvalidArgumentException::class, $verify);
            } else {
                refused('invalid_webhook', 0, $verify);
            }
        }
        $old = $vectors[0];
        refused('invalid_webhook', 0, fn () => Webhook::verify($old['headers'], $old['body'], $old['secrets']));
    },
    'what README.md says to write' => function () {
        preg_match_all('/```php\n(.*?)```/s', file_get_contents(__DIR__ . '/../README.md'), $found);
        same(count($found[1]) >= 4, true);
        foreach ($found[1] as $example) {
            (static fn () => eval(preg_replace('/^require .*$/m', '', $example)))();
        }
    },
];

foreach ($tests as $what => $test) {
    try {
        $test();
        echo "ok $what\n";
    } catch (Throwable $error) {
        echo "FAILED $what: $error\n";
        $hasFailed = true;
    }
}
exit(isset($hasFailed) ? 1 : 0);
