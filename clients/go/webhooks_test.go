package encke_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"testing"
	"time"

	encke "github.com/encke/encke/clients/go"
)

type vector struct {
	Name, Body string
	Secrets    []string
	Headers    map[string]string
	Now        int64
	Good       bool
	// BadSecret is whether there is no key in the secret.
	BadSecret bool `json:"bad_secret"`
}

func vectors(t *testing.T) (read []vector) {
	t.Helper()
	text, err := os.ReadFile("../../tests/vectors/webhooks.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	return read
}

func TestVectorsOfWebhooks(t *testing.T) {
	read := vectors(t)
	same(t, "many", len(read) > 20, true)
	for _, one := range read {
		webhooks, err := encke.NewWebhooks(one.Secrets...)
		if (err != nil) != one.BadSecret {
			t.Errorf("%s: %v", one.Name, err)
		}
		if err != nil {
			continue
		}
		webhooks.Now = func() time.Time { return time.Unix(one.Now, 0) }
		header := http.Header{}
		for name, value := range one.Headers {
			header.Set(name, value)
		}
		var value map[string]any
		err = webhooks.Verify(header, []byte(one.Body), &value)
		if one.Good && err != nil || !one.Good && !errors.Is(err, encke.ErrInvalidWebhook) {
			t.Errorf("%s: %v", one.Name, err)
		}
	}
}

func TestNowIsNow(t *testing.T) {
	one := vectors(t)[0]
	webhooks := must[*encke.Webhooks](t)(encke.NewWebhooks(one.Secrets...))
	header := http.Header{}
	for name, value := range one.Headers {
		header.Set(name, value)
	}
	var value map[string]any
	if err := webhooks.Verify(header, []byte(one.Body), &value); !errors.Is(err, encke.ErrInvalidWebhook) {
		t.Error(err)
	}
}

func TestNoSecretVerifiesNothing(t *testing.T) {
	for _, secrets := range [][]string{{}, {""}, {"whsec_"}, {"no base64"}} {
		if _, err := encke.NewWebhooks(secrets...); err == nil {
			t.Errorf("%q are secrets", secrets)
		}
	}
}
