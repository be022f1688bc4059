<?php
// The tokens by which users prove who they are: JWT (RFC 7519), signed with HS256 by the secret that the
// server has as `auth.token_secret`. For other algorithms take a library for JWT.
declare(strict_types=1);

namespace Encke;

final class Token
{
    /** RFC 7518 section 3.2. */
    private const SECRET_MIN_BYTES = 32;

    /**
     * A token for this user.
     * @param int $ttlS for how many seconds it is good
     * @param list<string>|null $channels patterns of what the user may follow (`*`: any run of characters)
     * @param list<string>|null $publish patterns of what the user may publish to
     * @param array<string, mixed> $claims further ones: `iss` and `aud` where the server asks for them, `jti`
     */
    public static function sign(
        string $secret,
        string $user,
        int $ttlS = 3600,
        ?array $channels = null,
        ?array $publish = null,
        array $claims = [],
    ): string {
        if (strlen($secret) < self::SECRET_MIN_BYTES) {
            throw new \InvalidArgumentException(
                'the secret has to have at least ' . self::SECRET_MIN_BYTES . ' bytes'
            );
        }
        $body = ['sub' => $user, 'iat' => time(), 'exp' => time() + $ttlS] + $claims;
        $body += array_filter(['channels' => $channels, 'publish' => $publish], 'is_array');
        $signed = self::part(['alg' => 'HS256', 'typ' => 'JWT']) . '.' . self::part($body);
        return $signed . '.' . self::base64url(hash_hmac('sha256', $signed, $secret, true));
    }

    private static function part(array $value): string
    {
        return self::base64url(json_encode($value, JSON_THROW_ON_ERROR));
    }

    private static function base64url(string $bytes): string
    {
        return rtrim(strtr(base64_encode($bytes), '+/', '-_'), '=');
    }
}
