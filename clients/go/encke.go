// Package encke is the library of Encke for backends: pushes, channels, receipts, tokens, hooks. What users'
// own programs and pages need, is not here.
package encke

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Instead of users in [Push.To]: all that the server knows, and those who are online.
var (
	All    = []string{"all"}
	Online = []string{"online"}
)

// receiptsPage is how many receipts are asked for at once.
const receiptsPage = 1000

// A Push is data or a page for some users. Exactly one of URL and Data is given.
type Push struct {
	// To has users, or is [All] or [Online].
	To []string
	// Data is anything that can be written as JSON; for null take json.RawMessage("null").
	Data any
	// URL is the address of a page.
	URL string
	// Show is what the page is shown in: a frame of the receiver's page, unless it is "window".
	Show string
	// TTL is how long it may be delivered, in whole seconds; 0 is as long as the server keeps it.
	TTL time.Duration
	// ID is the idempotency key, up to 128 bytes: the same push under the same key is accepted once.
	ID string
}

// A Message is data for a channel.
type Message struct {
	Channel string `json:"channel"`
	Data    any    `json:"data"`
	// ID is the idempotency key, up to 128 bytes.
	ID string `json:"id,omitempty"`
}

// Pushed is a push that was accepted.
type Pushed struct {
	ID string `json:"id"`
	// Mode is what keeps it: memory, log, redis or nats.
	Mode string `json:"mode"`
	// Accepted is for how many users.
	Accepted int `json:"accepted"`
	// Online and Offline name who was that then; 10,000 of each at most.
	Online    []string `json:"online"`
	Offline   []string `json:"offline"`
	Truncated bool     `json:"truncated"`
}

// PushResult is what became of one of several pushes: it was accepted, or Err says why not.
type PushResult struct {
	ID       string `json:"id"`
	Accepted int    `json:"accepted"`
	// Online and Offline are how many of its users were that.
	Online  int `json:"online"`
	Offline int `json:"offline"`
	// Err has no status of its own.
	Err *Error `json:"error"`
}

// Published is a message that was accepted, and its place in its channel.
type Published struct {
	ID     string `json:"id"`
	Offset uint64 `json:"offset"`
	Epoch  string `json:"epoch"`
	// Err says why one of several was not accepted. It is nil in the answer to one.
	Err *Error `json:"error"`
}

// A Receipt is what became of a push with one user.
type Receipt struct {
	User string `json:"user"`
	// State is queued, delivered, shown, expired or cancelled.
	State string    `json:"state"`
	Time  time.Time `json:"time"`
}

// A User is one that the server knows.
type User struct {
	ID        string    `json:"id"`
	Online    bool      `json:"online"`
	Sessions  int       `json:"sessions"`
	FirstSeen time.Time `json:"first_seen"`
	LastSeen  time.Time `json:"last_seen"`
}

// Close says whose sessions are to end: those of a user, or one session.
type Close struct {
	User    string `json:"user,omitempty"`
	Session string `json:"session,omitempty"`
	Reason  string `json:"reason,omitempty"`
	// Reconnect tells the clients to come back.
	Reconnect bool `json:"reconnect,omitempty"`
	// BanSeconds keeps the user away for so long.
	BanSeconds int `json:"ban_s,omitempty"`
}

// Revoke says which tokens are taken back: those of a user, the one with this id, or all that were issued
// before. For a user Before is now, by this machine's clock, if it is nil.
type Revoke struct {
	User   string     `json:"user,omitempty"`
	JTI    string     `json:"jti,omitempty"`
	Before *time.Time `json:"before,omitempty"`
}

// Push pushes data or a page to users, who get it at once or at their next login.
func (c *Client) Push(ctx context.Context, push Push) (Pushed, error) {
	var pushed Pushed
	err := c.send(ctx, http.MethodPost, "/api/push", push.wire(newKey()), &pushed, true)
	return pushed, err
}

// PushMany sends up to 1,000 pushes in one request. The results are in their order.
func (c *Client) PushMany(ctx context.Context, pushes []Push) ([]PushResult, error) {
	body := struct {
		Pushes []pushBody `json:"pushes"`
	}{make([]pushBody, 0, len(pushes))}
	for _, push := range pushes {
		body.Pushes = append(body.Pushes, push.wire(newKey()))
	}
	var answer struct{ Results []PushResult }
	err := c.send(ctx, http.MethodPost, "/api/push", body, &answer, true)
	return answer.Results, err
}

// PushStream sends any number of pushes over one connection and gives their results in their order, each as
// soon as it comes; pushes are taken in another goroutine, up to 64 ahead of the results. It is not repeated.
// After an error, pushes without a result may have been accepted or not: with an ID they can be sent again.
func (c *Client) PushStream(ctx context.Context, pushes iter.Seq[Push]) iter.Seq2[PushResult, error] {
	return stream[Push, PushResult](ctx, c, "/api/push", pushes, func(push Push) any { return push.wire("") })
}

// Publish publishes data to all who follow a channel.
func (c *Client) Publish(ctx context.Context, message Message) (Published, error) {
	var published Published
	err := c.send(ctx, http.MethodPost, "/api/publish", message.keyed(), &published, true)
	return published, err
}

// PublishMany sends up to 128 messages in one request. The results are in their order.
func (c *Client) PublishMany(ctx context.Context, messages []Message) ([]Published, error) {
	body := struct {
		Messages []Message `json:"messages"`
	}{make([]Message, 0, len(messages))}
	for _, message := range messages {
		body.Messages = append(body.Messages, message.keyed())
	}
	var answer struct{ Results []Published }
	err := c.send(ctx, http.MethodPost, "/api/publish", body, &answer, true)
	return answer.Results, err
}

// PublishStream is as [Client.PushStream].
func (c *Client) PublishStream(ctx context.Context, messages iter.Seq[Message]) iter.Seq2[Published, error] {
	return stream[Message, Published](ctx, c, "/api/publish", messages, func(message Message) any { return message })
}

// Receipts gives what became of a push, with each of its users.
func (c *Client) Receipts(ctx context.Context, id string) iter.Seq2[Receipt, error] {
	return func(yield func(Receipt, error) bool) {
		query := url.Values{"limit": {strconv.Itoa(receiptsPage)}}
		for {
			var page struct {
				Receipts []Receipt
				Next     string
			}
			path := "/api/push/" + url.PathEscape(id) + "?" + query.Encode()
			if err := c.send(ctx, http.MethodGet, path, nil, &page, true); err != nil {
				yield(Receipt{}, err)
				return
			}
			for _, receipt := range page.Receipts {
				if !yield(receipt, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			query.Set("after", page.Next)
		}
	}
}

// Cancel calls a push back where it is still queued, and tells for how many users.
func (c *Client) Cancel(ctx context.Context, id string) (int, error) {
	var answer struct{ Cancelled int }
	err := c.send(ctx, http.MethodDelete, "/api/push/"+url.PathEscape(id), nil, &answer, true)
	return answer.Cancelled, err
}

// User tells whether a user is online, and since when the server knows the user.
func (c *Client) User(ctx context.Context, id string) (User, error) {
	var user User
	err := c.send(ctx, http.MethodGet, "/api/users/"+url.PathEscape(id), nil, &user, true)
	return user, err
}

// Close ends sessions, and tells how many. It is not repeated: that would close who has come back meanwhile.
func (c *Client) Close(ctx context.Context, of Close) (int, error) {
	var answer struct{ Closed int }
	err := c.send(ctx, http.MethodPost, "/api/close", of, &answer, false)
	return answer.Closed, err
}

// Revoke takes tokens back, and tells how many sessions ended with them.
func (c *Client) Revoke(ctx context.Context, of Revoke) (int, error) {
	if of.User != "" && of.Before == nil {
		// Said now, so that a repeat spares the tokens that are issued until then.
		now := time.Now().UTC()
		of.Before = &now
	}
	var answer struct{ Closed int }
	err := c.send(ctx, http.MethodPost, "/api/revoke", of, &answer, true)
	return answer.Closed, err
}

// Request makes any other request of the server API. The body may be nil; the answer's JSON goes into answer.
// A POST is not repeated.
func (c *Client) Request(ctx context.Context, method, path string, body, answer any) error {
	return c.send(ctx, method, path, body, answer, method != http.MethodPost)
}

// pushBody is a push as the server takes it.
type pushBody struct {
	To   any    `json:"to"`
	Data any    `json:"data,omitempty"`
	URL  string `json:"url,omitempty"`
	Show string `json:"show,omitempty"`
	TTL  int64  `json:"ttl_s,omitempty"`
	ID   string `json:"id,omitempty"`
}

func (p Push) wire(key string) pushBody {
	body := pushBody{To: p.To, Data: p.Data, URL: p.URL, Show: p.Show, TTL: int64(p.TTL / time.Second), ID: p.ID}
	if body.ID == "" {
		body.ID = key
	}
	if isSame(p.To, All) || isSame(p.To, Online) {
		body.To = p.To[0]
	} else if p.To == nil {
		body.To = []string{}
	}
	return body
}

func (m Message) keyed() Message {
	if m.ID == "" {
		m.ID = newKey()
	}
	return m
}

// isSame is whether both are one slice: a user may have the name of a word.
func isSame(a, b []string) bool { return len(a) == 1 && &a[0] == &b[0] }
