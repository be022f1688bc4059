package encke_test

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"os"
	"testing"
	"time"

	encke "github.com/encke/encke/clients/go"
)

var (
	address = os.Getenv("ENCKE_URL")
	apiKey  = os.Getenv("ENCKE_API_KEY")
	secret  = os.Getenv("ENCKE_TOKEN_SECRET")
	front   = os.Getenv("ENCKE_FAULTY_URL")
)

const within = 20 * time.Second

// name is one that no other test has.
func name(prefix string) string {
	var bytes [12]byte
	_, _ = rand.Read(bytes[:])
	return prefix + "-" + hex.EncodeToString(bytes[:])
}

func newClient(t *testing.T, address, apiKey string) *encke.Client {
	t.Helper()
	client, err := encke.New(address, apiKey)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func faulty(t *testing.T, fault, of string) *encke.Client {
	return newClient(t, front+"/"+fault+"/"+of, apiKey)
}

// get asks for JSON and gives the status.
func get(t *testing.T, address, token string, v any) int {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := (&http.Client{Timeout: within}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return response.StatusCode
}

// requestsTo is how many requests came to this name at the faulty front.
func requestsTo(t *testing.T, of string) (n int) {
	t.Helper()
	get(t, front+"/count/"+of+"/", "", &n)
	return n
}

// bodiesTo is what the requests said that came to this name at the faulty front.
func bodiesTo(t *testing.T, of string) (bodies []string) {
	t.Helper()
	get(t, front+"/bodies/"+of+"/", "", &bodies)
	return bodies
}

// A viewer is a user who polls.
type viewer struct {
	t           *testing.T
	user, token string
	at          url.Values
}

type polled struct {
	Session, Cursor string
	Messages        []struct {
		Type, URL string
		Data      any
	}
	Error struct{ Code string }
}

func newViewer(t *testing.T, token encke.Token) *viewer {
	t.Helper()
	if token.User == "" {
		token.User = name("user")
	}
	signed, err := token.Sign(secret)
	if err != nil {
		t.Fatal(err)
	}
	return &viewer{t, token.User, signed, url.Values{"cursor": {"earliest"}, "hold_s": {"0"}}}
}

// ask gives what a poll is answered.
func (v *viewer) ask(channels ...string) (polled, int) {
	v.t.Helper()
	query := url.Values{"channels": channels}
	for name, values := range v.at {
		query[name] = values
	}
	var answer polled
	status := get(v.t, address+"/v1/poll?"+query.Encode(), v.token, &answer)
	return answer, status
}

func (v *viewer) poll(channels ...string) polled {
	v.t.Helper()
	answer, status := v.ask(channels...)
	if status != http.StatusOK {
		v.t.Fatalf("%d %v", status, answer.Error)
	}
	v.at.Set("cursor", answer.Cursor)
	v.at.Set("session", answer.Session)
	return answer
}

// data is that of so many messages, and of those that came too many.
func (v *viewer) data(count int) string {
	v.t.Helper()
	found := []any{}
	for {
		v.at.Set("hold_s", "0")
		if len(found) < count {
			v.at.Set("hold_s", "5")
		}
		answer := v.poll()
		if len(answer.Messages) == 0 {
			return fmt.Sprint(found)
		}
		for _, message := range answer.Messages {
			found = append(found, message.Data)
		}
	}
}

// all takes what an iterator gives, until its first error.
func all[T any](of iter.Seq2[T, error]) (found []T, err error) {
	for one, err := range of {
		if err != nil {
			return found, err
		}
		found = append(found, one)
	}
	return found, nil
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %v instead of %v", what, got, want)
	}
}

// refused fails unless the error has this code and status.
func refused(t *testing.T, err error, code string, status int) {
	t.Helper()
	var refusal *encke.Error
	if !errors.As(err, &refusal) || refusal.Code != code || refusal.Status != status {
		t.Errorf("%v instead of %s, %d", err, code, status)
	}
}

// unanswered fails unless the error says that there was no answer.
func unanswered(t *testing.T, err error) {
	t.Helper()
	var refusal *encke.Error
	if err == nil || errors.As(err, &refusal) {
		t.Errorf("%v", err)
	}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}
