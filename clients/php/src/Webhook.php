<?php
// The signatures of hooks, by the specification of Standard Webhooks: HMAC-SHA256 over the id, the time and the
// body of a request.
declare(strict_types=1);

namespace Encke;

final class Webhook
{
    /** How old, or how far ahead, the time of a request may be. */
    private const TOLERANCE_S = 300;

    /**
     * The JSON of a hook, if it is signed with one of these secrets (`whsec_…`) and not old.
     * @param array<string, string|list<string>> $headers in any case, as getallheaders() or Laravel has them
     * @param string $body what came, byte by byte
     * @param string|list<string> $secrets two while one takes the place of the other
     * @throws EnckeException `invalid_webhook`
     */
    public static function verify(
        array $headers,
        string $body,
        string|array $secrets,
        ?int $now = null,
        int $toleranceS = self::TOLERANCE_S,
    ): array {
        $fields = array_change_key_case($headers);
        [$id, $at, $signatures] = array_map(static function (string $name) use ($fields): string {
            $value = $fields[$name] ?? throw self::invalid("the field $name is missing");
            return is_array($value) ? (string) ($value[0] ?? '') : $value;
        }, ['webhook-id', 'webhook-timestamp', 'webhook-signature']);
        if (!preg_match('/^\d{1,15}$/D', $at)) {
            throw self::invalid('webhook-timestamp is not a time');
        }
        // Before the signature: what is old is refused whether or not it is genuine.
        if (abs(($now ?? time()) - (int) $at) > $toleranceS) {
            throw self::invalid('webhook-timestamp is too far from now');
        }
        $isSigned = false;
        foreach (self::several($secrets) as $secret) {
            $good = self::sign($secret, $id, (int) $at, $body);
            foreach (explode(' ', $signatures) as $signature) {
                $isSigned = hash_equals($good, $signature) || $isSigned;
            }
        }
        if (!$isSigned) {
            throw self::invalid('no signature is of these secrets');
        }
        if (!json_decode($body) instanceof \stdClass) {
            throw self::invalid('the body is no object');
        }
        return json_decode($body, true);
    }

    /** The signature of a request, for tests of an endpoint. */
    public static function sign(string $secret, string $id, int $atS, string $body): string
    {
        $key = base64_decode(preg_replace('/^whsec_/', '', $secret), true);
        if ($key === false || $key === '') {
            throw new \InvalidArgumentException('a secret is whsec_ and Base64');
        }
        return 'v1,' . base64_encode(hash_hmac('sha256', "$id.$atS.$body", $key, true));
    }

    /** @return list<string> */
    private static function several(string|array $secrets): array
    {
        $several = (array) $secrets;
        if ($several === [] || in_array('', $several, true)) {
            throw new \InvalidArgumentException('there is no secret');
        }
        return $several;
    }

    private static function invalid(string $why): EnckeException
    {
        return new EnckeException('invalid_webhook', $why);
    }
}
