package encke_test

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"math"
	"slices"
	"testing"
	"time"

	encke "github.com/encke/encke/clients/go"
)

func TestPushComesAndHasReceipts(t *testing.T) {
	ctx, client := t.Context(), newClient(t, address, apiKey)
	alice, bob := newViewer(t, encke.Token{}), newViewer(t, encke.Token{})
	alice.poll()
	push := encke.Push{To: []string{alice.user, bob.user}, Data: map[string]string{"text": "Zoë"}, TTL: time.Minute}
	pushed := must[encke.Pushed](t)(client.Push(ctx, push))
	same(t, "online", pushed.Online, []string{alice.user})
	same(t, "offline", pushed.Offline, []string{bob.user})
	same(t, "data", alice.data(1), "[map[text:Zoë]]")
	same(t, "cancelled", must[int](t)(client.Cancel(ctx, pushed.ID)), 1)
	same(t, "data", bob.data(0), "[]")
	for _, receipt := range must[[]encke.Receipt](t)(all(client.Receipts(ctx, pushed.ID))) {
		if receipt.User == bob.user {
			same(t, "state", receipt.State, "cancelled")
		}
	}
	same(t, "online", must[encke.User](t)(client.User(ctx, alice.user)).Online, true)
}

func TestPageAndNullArePushed(t *testing.T) {
	ctx, client, alice := t.Context(), newClient(t, address, apiKey), newViewer(t, encke.Token{})
	for _, push := range []encke.Push{{URL: "https://example.com/"}, {Data: json.RawMessage("null")}, {Data: ""}} {
		push.To = []string{alice.user}
		must[encke.Pushed](t)(client.Push(ctx, push))
	}
	messages := alice.poll().Messages
	same(t, "types", []string{messages[0].Type, messages[0].URL, messages[1].Type},
		[]string{"page", "https://example.com/", "message"})
	same(t, "data", []any{messages[1].Data, messages[2].Data}, []any{nil, ""})
}

func TestTargets(t *testing.T) {
	ctx, client, alice := t.Context(), newClient(t, address, apiKey), newViewer(t, encke.Token{})
	alice.poll()
	pushed := must[encke.Pushed](t)(client.Push(ctx, encke.Push{To: encke.Online, Data: 1, TTL: time.Minute}))
	same(t, "online", slices.Contains(pushed.Online, alice.user), true)
	// A user may have the name of a word.
	pushed = must[encke.Pushed](t)(client.Push(ctx, encke.Push{To: []string{"all"}, Data: 1}))
	same(t, "accepted", pushed.Accepted, 1)
}

func TestReceiptsComeInPages(t *testing.T) {
	ctx, client := t.Context(), newClient(t, address, apiKey)
	users := make([]string, 1001)
	for n := range users {
		users[n] = name("user")
	}
	pushed := must[encke.Pushed](t)(client.Push(ctx, encke.Push{To: users, Data: 1}))
	found := make([]string, 0, len(users))
	for _, receipt := range must[[]encke.Receipt](t)(all(client.Receipts(ctx, pushed.ID))) {
		found = append(found, receipt.User)
	}
	slices.Sort(found)
	slices.Sort(users)
	same(t, "users", found, users)
}

func TestManyInOneRequestHaveAResultEach(t *testing.T) {
	client, alice := newClient(t, address, apiKey), newViewer(t, encke.Token{})
	pushes := []encke.Push{{To: []string{alice.user}, Data: 1}, {Data: 2}, {To: []string{alice.user}, Data: 3}}
	results := must[[]encke.PushResult](t)(client.PushMany(t.Context(), pushes))
	same(t, "accepted", []int{results[0].Accepted, results[0].Offline}, []int{1, 1})
	refused(t, results[1].Err, "bad_request", 0)
	same(t, "data", alice.data(2), "[1 3]")
}

func pushes(user string, n int) iter.Seq[encke.Push] {
	return func(yield func(encke.Push) bool) {
		for i := range n {
			push := encke.Push{To: []string{user}, Data: i}
			if i == 500 {
				push.To = nil
			}
			if !yield(push) {
				return
			}
		}
	}
}

func TestStreamHasAResultForEachLineInOrder(t *testing.T) {
	ctx, client, alice := t.Context(), newClient(t, address, apiKey), newViewer(t, encke.Token{})
	results := must[[]encke.PushResult](t)(all(client.PushStream(ctx, pushes(alice.user, 1000))))
	same(t, "results", len(results), 1000)
	want := []any{}
	for n, result := range results {
		same(t, "error", result.Err != nil, n == 500)
		if n != 500 {
			want = append(want, n)
		}
	}
	same(t, "data", alice.data(999), want)
	none := must[[]encke.PushResult](t)(all(client.PushStream(ctx, pushes("alice", 0))))
	same(t, "results", len(none), 0)
}

func TestResultDoesNotWaitForTheNextPush(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	client := newClient(t, address, apiKey)
	hasResult := make(chan struct{}, 2)
	source := func(yield func(encke.Push) bool) {
		for n := range 2 {
			if !yield(encke.Push{To: []string{"alice"}, Data: n}) {
				return
			}
			select {
			case <-hasResult:
			case <-ctx.Done():
				return
			}
		}
	}
	seen := 0
	for _, err := range client.PushStream(ctx, source) {
		if err != nil {
			t.Fatal(err)
		}
		seen++
		hasResult <- struct{}{}
	}
	same(t, "results", seen, 2)
}

func TestStreamThatFailsSaysSo(t *testing.T) {
	ctx := t.Context()
	for _, fault := range []string{"broken", "ended"} {
		_, err := all(faulty(t, fault, name("user")).PushStream(ctx, pushes("alice", 200)))
		unanswered(t, err)
	}
	silent := faulty(t, "silent", name("user"))
	silent.Timeout = 200 * time.Millisecond
	_, err := all(silent.PushStream(ctx, pushes("alice", 200)))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	_, err = all(newClient(t, address, "wrong").PushStream(ctx, pushes("alice", 200)))
	refused(t, err, "unauthorized", 401)
	client := newClient(t, address, apiKey)
	bad := func(yield func(encke.Push) bool) { yield(encke.Push{To: []string{"alice"}, Data: math.NaN()}) }
	_, err = all(client.PushStream(ctx, bad))
	var unsupported *json.UnsupportedValueError
	if !errors.As(err, &unsupported) {
		t.Error(err)
	}
	// One that is left early ends, and its source with it.
	isOver := make(chan struct{})
	source := func(yield func(encke.Push) bool) {
		defer close(isOver)
		for yield(encke.Push{To: []string{"alice"}, Data: 1}) {
		}
	}
	for range client.PushStream(ctx, source) {
		break
	}
	select {
	case <-isOver:
	case <-time.After(within):
		t.Error("the source goes on")
	}
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	_, err = all(client.PushStream(ctx, pushes("alice", 1)))
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestStreamWhoseAnswerDoesNotEndSaysSo(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	hasResult := make(chan struct{}, 2)
	slow := func(yield func(encke.Push) bool) {
		if !yield(encke.Push{To: []string{"alice"}, Data: 1}) {
			return
		}
		select {
		case <-hasResult:
		case <-ctx.Done():
		}
	}
	// The source has ended before the last result, or ends after it.
	for _, source := range []iter.Seq[encke.Push]{slow, pushes("alice", 1)} {
		client := faulty(t, "endless", name("user"))
		client.Timeout = time.Second
		var failure error
		for _, err := range client.PushStream(ctx, source) {
			if failure = err; err == nil {
				hasResult <- struct{}{}
			}
		}
		unanswered(t, failure)
		same(t, "context", ctx.Err(), nil)
	}
}

func TestStreamIsNotLateWhileItsCallerIsBusy(t *testing.T) {
	client := newClient(t, address, apiKey)
	client.Timeout = 2 * time.Second
	seen := 0
	for _, err := range client.PushStream(t.Context(), pushes("alice", 2)) {
		if err != nil {
			t.Fatal(err)
		}
		seen++
		time.Sleep(client.Timeout + client.Timeout/4)
	}
	same(t, "results", seen, 2)
}

func TestChannels(t *testing.T) {
	ctx, client := t.Context(), newClient(t, address, apiKey)
	alice, channel := newViewer(t, encke.Token{Channels: []string{"news-*"}}), name("news")
	alice.poll(channel)
	first := must[encke.Published](t)(client.Publish(ctx, encke.Message{Channel: channel, Data: 1}))
	messages := []encke.Message{{Channel: channel, Data: 2}, {Channel: channel, Data: 3}}
	many := must[[]encke.Published](t)(client.PublishMany(ctx, messages))
	messages = []encke.Message{{Channel: channel, Data: 4}, {Data: 5}}
	streamed := must[[]encke.Published](t)(all(client.PublishStream(ctx, slices.Values(messages))))
	same(t, "offsets", []uint64{first.Offset, many[1].Offset, streamed[0].Offset}, []uint64{1, 3, 4})
	refused(t, streamed[1].Err, "bad_name", 0)
	same(t, "data", alice.data(4), "[1 2 3 4]")
}

func TestSameKeyIsAcceptedOnce(t *testing.T) {
	ctx, client, alice := t.Context(), newClient(t, address, apiKey), newViewer(t, encke.Token{})
	push := encke.Push{To: []string{alice.user}, Data: 1, ID: alice.user}
	first, second := must[encke.Pushed](t)(client.Push(ctx, push)), must[encke.Pushed](t)(client.Push(ctx, push))
	same(t, "id", second.ID, first.ID)
	same(t, "data", alice.data(1), "[1]")
	push.Data = 2
	_, err := client.Push(ctx, push)
	refused(t, err, "key_reused", 409)
}

func TestTokensSayWhatTheyGrantAndCanBeRevoked(t *testing.T) {
	ctx, client := t.Context(), newClient(t, address, apiKey)
	answer, _ := newViewer(t, encke.Token{Channels: []string{"other"}}).ask("news")
	same(t, "code", answer.Error.Code, "channel_forbidden")
	id := name("user")
	for _, one := range []struct {
		token      encke.Token
		revocation encke.Revoke
	}{
		{encke.Token{Claims: map[string]any{"jti": id}}, encke.Revoke{JTI: id}},
		{encke.Token{User: id}, encke.Revoke{User: id}},
	} {
		alice := newViewer(t, one.token)
		alice.poll()
		same(t, "closed", must[int](t)(client.Revoke(ctx, one.revocation)), 1)
		answer, _ := alice.ask()
		same(t, "code", answer.Error.Code, "revoked")
	}
	if _, err := (encke.Token{User: "alice"}).Sign("short"); err == nil {
		t.Error("a short secret signs")
	}
}

func TestRepeatedRevocationIsOfTheTimeOfTheCall(t *testing.T) {
	ctx, of, another := t.Context(), name("user"), name("user")
	from := time.Now()
	must[int](t)(faulty(t, "lost", of).Revoke(ctx, encke.Revoke{User: name("user")}))
	bodies := bodiesTo(t, of)
	if len(bodies) != 2 || bodies[0] != bodies[1] {
		t.Fatal(bodies)
	}
	var first encke.Revoke
	if err := json.Unmarshal([]byte(bodies[0]), &first); err != nil || first.Before == nil {
		t.Fatal(err, bodies)
	}
	same(t, "in the call", !first.Before.Before(from) && !first.Before.After(time.Now()), true)
	before := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	must[int](t)(faulty(t, "lost", another).Revoke(ctx, encke.Revoke{User: another, Before: &before}))
	body := `{"user":"` + another + `","before":"2026-01-02T03:04:05Z"}`
	same(t, "bodies", bodiesTo(t, another), []string{body, body})
}

func TestCloseEndsSessions(t *testing.T) {
	ctx, client, alice := t.Context(), newClient(t, address, apiKey), newViewer(t, encke.Token{})
	session := alice.poll().Session
	same(t, "closed", must[int](t)(client.Close(ctx, encke.Close{Session: session, Reason: "done"})), 1)
	same(t, "closed", must[int](t)(client.Close(ctx, encke.Close{User: alice.user})), 0)
	_, status := alice.ask()
	same(t, "status", status, 410)
}

func TestErrorsHaveCodes(t *testing.T) {
	ctx, client, push := t.Context(), newClient(t, address, apiKey), encke.Push{To: []string{"alice"}, Data: 1}
	_, err := newClient(t, address, "wrong").Push(ctx, push)
	refused(t, err, "unauthorized", 401)
	_, err = client.Push(ctx, encke.Push{Data: 1})
	refused(t, err, "bad_request", 400)
	_, err = client.Cancel(ctx, "nothing/of that?")
	refused(t, err, "push_unknown", 404)
	_, err = client.User(ctx, name("a/b?c"))
	refused(t, err, "user_unknown", 404)
	_, err = faulty(t, "html", name("user")).Push(ctx, push)
	refused(t, err, "unexpected_answer", 200)
	_, err = faulty(t, "moved", name("user")).Push(ctx, push)
	refused(t, err, "unexpected_answer", 307)
	nowhere := newClient(t, "http://127.0.0.1:1", apiKey)
	nowhere.Retries = 0
	_, err = nowhere.Push(ctx, push)
	unanswered(t, err)
	if _, err := encke.New("127.0.0.1:8080", apiKey); err == nil {
		t.Error("an address without a scheme is taken")
	}
}

func TestWhatIsLostIsSentAgainUnderOneKey(t *testing.T) {
	for _, fault := range []string{"lost", "busy", "proxy"} {
		alice := newViewer(t, encke.Token{})
		push := encke.Push{To: []string{alice.user}, Data: 1}
		must[encke.Pushed](t)(faulty(t, fault, alice.user).Push(t.Context(), push))
		same(t, fault, alice.data(1), "[1]")
		same(t, fault, requestsTo(t, alice.user), 2)
		of := name("user")
		must[[]encke.PushResult](t)(faulty(t, fault, of).PushMany(t.Context(), []encke.Push{push}))
		same(t, fault, alice.data(1), "[1]")
		same(t, fault, requestsTo(t, of), 2)
	}
}

func TestWhatIsNotSafeIsSentOnce(t *testing.T) {
	of := name("user")
	_, err := faulty(t, "lost", of).Close(t.Context(), encke.Close{User: name("user")})
	unanswered(t, err)
	same(t, "requests", requestsTo(t, of), 1)
}

func TestAttemptsComeToAnEnd(t *testing.T) {
	of, push := name("user"), encke.Push{To: []string{"alice"}, Data: 1}
	gone := faulty(t, "gone", of)
	gone.Retries = 1
	_, err := gone.Push(t.Context(), push)
	unanswered(t, err)
	same(t, "requests", requestsTo(t, of), 2)
	silent := faulty(t, "silent", name("user"))
	silent.Timeout, silent.Retries = 200*time.Millisecond, 0
	_, err = silent.Push(t.Context(), push)
	unanswered(t, err)
}

func TestOtherRequestsCanBeMade(t *testing.T) {
	var answer struct{ Sessions []any }
	path := "/api/sessions?user=" + name("user")
	if err := newClient(t, address, apiKey).Request(t.Context(), "GET", path, nil, &answer); err != nil {
		t.Fatal(err)
	}
	same(t, "sessions", len(answer.Sessions), 0)
}
