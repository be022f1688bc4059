package encke

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	defaultTimeout = 10 * time.Second
	defaultRetries = 2
	firstPause     = 250 * time.Millisecond
	longestPause   = 5 * time.Second
	// A server that wants a longer pause has its way with the caller, who is told.
	longestRetryAfter = 10 * time.Second
	// answerMax is how many bytes of an answer are read: a page of receipts or of history has less.
	answerMax = 64 << 20
	userAgent = "encke-go/0.1.0"
)

// A Client has the server API of one Encke server. One is enough for a process; goroutines may share it.
type Client struct {
	// HTTP sends the requests. [New] makes one that follows no redirects.
	HTTP *http.Client
	// Timeout is how long an answer may take. The context bounds all attempts together.
	Timeout time.Duration
	// Retries is how often a request is repeated that does no harm when it comes twice.
	Retries int

	url, authorization string
}

// New makes a client of the server at an http or https address.
func New(address, apiKey string) (*Client, error) {
	at, err := url.Parse(address)
	if err != nil || at.Host == "" || (at.Scheme != "http" && at.Scheme != "https") {
		return nil, fmt.Errorf("encke: %q is no http or https address", address)
	}
	// A redirect would be given the key.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{
		HTTP:          &http.Client{CheckRedirect: stay},
		Timeout:       defaultTimeout,
		Retries:       defaultRetries,
		url:           strings.TrimRight(address, "/"),
		authorization: "Bearer " + apiKey,
	}, nil
}

// An Error is a refusal of the server. All other errors of calls say that there was no answer, so that it is
// not known whether a request was carried out.
type Error struct {
	// Status is the HTTP status; 0 for one of several requests in a call, which has none of its own.
	Status int `json:"-"`
	// Code is one of the table in docs/PROTOCOL.md, or unexpected_answer when the answer is not Encke's.
	Code    string `json:"code"`
	Message string `json:"message"`
	// RetryAfter is when to come again, if the server says so.
	RetryAfter time.Duration `json:"-"`
}

func (e *Error) Error() string { return "encke: " + e.Code + ": " + e.Message }

// send makes a request, again if that does no harm and may help.
func (c *Client) send(ctx context.Context, method, path string, body, answer any, isRepeatable bool) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return fmt.Errorf("encke: %w", err)
		}
	}
	for attempt := 0; ; attempt++ {
		err := c.once(ctx, method, path, text, answer)
		if err == nil {
			return nil
		}
		pause, isWorth := pauseAfter(attempt, err)
		if attempt >= c.Retries || !isRepeatable || !isWorth || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

func (c *Client) once(ctx context.Context, method, path string, body []byte, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	request, err := c.request(ctx, method, path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := c.HTTP.Do(request)
	if err != nil {
		return noAnswer(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, answerMax))
	if err != nil {
		return noAnswer(err)
	}
	if response.StatusCode >= 300 || (answer != nil && json.Unmarshal(text, answer) != nil) {
		return refusal(response, text)
	}
	return nil
}

func (c *Client) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.url+path, body)
	if err != nil {
		return nil, fmt.Errorf("encke: %w", err)
	}
	request.Header.Set("Authorization", c.authorization)
	request.Header.Set("User-Agent", userAgent)
	return request, nil
}

func noAnswer(err error) error { return fmt.Errorf("encke: no answer: %w", err) }

// refusal is what an answer says that is not the expected one.
func refusal(response *http.Response, text []byte) *Error {
	after, _ := strconv.ParseUint(response.Header.Get("Retry-After"), 10, 31)
	var answer struct{ Error Error }
	if json.Unmarshal(text, &answer) != nil || answer.Error.Code == "" {
		answer.Error.Code = "unexpected_answer"
		answer.Error.Message = fmt.Sprintf("status %d: %.200s", response.StatusCode, text)
	}
	answer.Error.Status = response.StatusCode
	answer.Error.RetryAfter = time.Duration(after) * time.Second
	return &answer.Error
}

// pauseAfter is how long to wait before the next attempt, and whether there is to be one.
func pauseAfter(attempt int, err error) (time.Duration, bool) {
	var after time.Duration
	var refused *Error
	if errors.As(err, &refused) {
		switch refused.Status {
		case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable,
			http.StatusGatewayTimeout:
			after = refused.RetryAfter
		default:
			return 0, false
		}
	}
	pause := min(firstPause<<min(attempt, 10), longestPause)
	return after + pause/2 + mathrand.N(pause/2), after <= longestRetryAfter
}

// newKey is an idempotency key for a message that has none, so that it can be sent again.
func newKey() string {
	var key [16]byte
	// It does not fail.
	_, _ = rand.Read(key[:])
	return hex.EncodeToString(key[:])
}
