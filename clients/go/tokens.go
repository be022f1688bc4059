package encke

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"
)

// secretMin is how many bytes a secret has at least (RFC 7518 section 3.2).
const secretMin = 32

// A Token is what a user proves to be the user by, and what it grants.
type Token struct {
	// User is the claim sub.
	User string
	// TTL is for how long it is good; 0 is an hour.
	TTL time.Duration
	// Channels are patterns of what the user may follow, Publish of what the user may publish to; * stands for
	// any run of characters. Where rules of the server decide, leave them nil.
	Channels, Publish []string
	// Claims are further ones: iss and aud where the server asks for them, jti by which it can be revoked.
	Claims map[string]any
}

// Sign makes a JWT (RFC 7519) by HS256 with the secret that the server has as auth.token_secret. For other
// algorithms take a library for JWT.
func (t Token) Sign(secret string) (string, error) {
	if len(secret) < secretMin {
		return "", fmt.Errorf("encke: the secret has to have at least %d bytes", secretMin)
	}
	if t.User == "" {
		return "", errors.New("encke: a token is for a user")
	}
	claims := map[string]any{}
	maps.Copy(claims, t.Claims)
	ttl := t.TTL
	if ttl == 0 {
		ttl = time.Hour
	}
	now := time.Now()
	claims["sub"], claims["iat"], claims["exp"] = t.User, now.Unix(), now.Add(ttl).Unix()
	if t.Channels != nil {
		claims["channels"] = t.Channels
	}
	if t.Publish != nil {
		claims["publish"] = t.Publish
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encke: %w", err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(body)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signed))
	return signed + "." + encode(mac.Sum(nil)), nil
}
