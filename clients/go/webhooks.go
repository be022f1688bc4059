package encke

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// webhookTolerance is how old, or how far ahead, the time of a request may be.
const webhookTolerance = 5 * time.Minute

// ErrInvalidWebhook is what a request fails with that is not a hook of the server, or an old one.
var ErrInvalidWebhook = errors.New("encke: invalid webhook")

// Webhooks verifies the signatures of hooks, by the specification of Standard Webhooks. Each of its secrets is
// good; two are there while one takes the place of the other.
type Webhooks struct {
	keys [][]byte
	// Now is the clock, for tests.
	Now func() time.Time
}

// NewWebhooks takes secrets, each as the server has it (whsec_…).
func NewWebhooks(secrets ...string) (*Webhooks, error) {
	webhooks := &Webhooks{Now: time.Now}
	for _, secret := range secrets {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		if err != nil || len(key) == 0 {
			return nil, errors.New("encke: a secret is whsec_ and Base64")
		}
		webhooks.keys = append(webhooks.keys, key)
	}
	if len(secrets) == 0 {
		return nil, errors.New("encke: there is no secret")
	}
	return webhooks, nil
}

// Verify reads the JSON of a hook into v, if it is signed and not old. The body is what came, byte by byte.
// All errors are [ErrInvalidWebhook].
func (w *Webhooks) Verify(header http.Header, body []byte, v any) error {
	id, at := header.Get("Webhook-Id"), header.Get("Webhook-Timestamp")
	if id == "" {
		return fmt.Errorf("%w: there is no webhook-id", ErrInvalidWebhook)
	}
	seconds, err := strconv.ParseUint(at, 10, 62)
	if err != nil {
		return fmt.Errorf("%w: webhook-timestamp is not a time", ErrInvalidWebhook)
	}
	// Before the signature: what is old is refused whether or not it is genuine.
	if w.Now().Sub(time.Unix(int64(seconds), 0)).Abs() > webhookTolerance {
		return fmt.Errorf("%w: webhook-timestamp is too far from now", ErrInvalidWebhook)
	}
	if !w.isSigned(header.Get("Webhook-Signature"), id, at, body) {
		return fmt.Errorf("%w: no signature is of these secrets", ErrInvalidWebhook)
	}
	if !strings.HasPrefix(strings.TrimSpace(string(body)), "{") || json.Unmarshal(body, v) != nil {
		return fmt.Errorf("%w: the body is not the JSON object", ErrInvalidWebhook)
	}
	return nil
}

// Sign makes the signature of a request by the first secret, for tests of an endpoint.
func (w *Webhooks) Sign(id string, at time.Time, body []byte) string {
	return sign(w.keys[0], id, strconv.FormatInt(at.Unix(), 10), body)
}

func (w *Webhooks) isSigned(given, id, at string, body []byte) bool {
	isSigned := false
	for _, key := range w.keys {
		good := []byte(sign(key, id, at, body))
		for _, one := range strings.Split(given, " ") {
			isSigned = isSigned || hmac.Equal(good, []byte(one))
		}
	}
	return isSigned
}

func sign(key []byte, id, at string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + at + "."))
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
