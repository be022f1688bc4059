<?php
// What can go wrong: a refusal of the server, or no answer.
declare(strict_types=1);

namespace Encke;

final class EnckeException extends \RuntimeException
{
    /**
     * @param string $errorCode one of the table in docs/PROTOCOL.md; `no_answer` when it is not known whether
     * the request was carried out; `unexpected_answer` when the answer is not Encke's; `invalid_webhook`
     * @param int $status the HTTP status; 0 without an answer, and for one of several requests in a call
     */
    public function __construct(
        public readonly string $errorCode,
        string $message,
        public readonly int $status = 0,
        public readonly ?int $retryAfterS = null,
    ) {
        parent::__construct("$errorCode: $message");
    }

    /** What an answer says that is not the expected one. */
    public static function of(int $status, string $text, ?int $retryAfterS = null): self
    {
        $error = json_decode($text, true)['error'] ?? null;
        if (is_array($error) && isset($error['code'], $error['message'])) {
            return new self($error['code'], $error['message'], $status, $retryAfterS);
        }
        return new self('unexpected_answer', "status $status: " . substr($text, 0, 200), $status, $retryAfterS);
    }
}
