package encke_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	encke "github.com/encke/encke/clients/go"
)

func Example() {
	ctx := context.Background()
	client, err := encke.New(os.Getenv("ENCKE_URL"), os.Getenv("ENCKE_API_KEY"))
	if err != nil {
		log.Fatal(err)
	}
	bill := map[string]any{"text": "Your bill is there"}
	pushed, err := client.Push(ctx, encke.Push{To: []string{"alice", "bob"}, Data: bill, ID: "bill-g17"})
	if err != nil {
		log.Fatal(err)
	}
	for receipt, err := range client.Receipts(ctx, pushed.ID) {
		if err != nil {
			log.Fatal(err)
		}
		log.Println(receipt.User, receipt.State)
	}
	if _, err := client.Cancel(ctx, pushed.ID); err != nil {
		log.Fatal(err)
	}
	if _, err := client.Publish(ctx, encke.Message{Channel: "news", Data: "hello"}); err != nil {
		log.Fatal(err)
	}
	// Output:
}

func ExampleClient_PushStream() {
	ctx := context.Background()
	client, err := encke.New(os.Getenv("ENCKE_URL"), os.Getenv("ENCKE_API_KEY"))
	if err != nil {
		log.Fatal(err)
	}
	bills := []encke.Push{
		{To: []string{"alice"}, Data: 1, ID: "bill-g1"},
		{To: []string{"bob"}, Data: 2, ID: "bill-g2"},
	}
	for result, err := range client.PushStream(ctx, slices.Values(bills)) {
		if err != nil {
			log.Fatal(err)
		}
		if result.Err != nil {
			log.Println(result.Err.Code)
		}
	}
	// Output:
}

func ExampleToken() {
	token, err := encke.Token{
		User:     "alice",
		TTL:      time.Hour,
		Channels: []string{"news", "room:*"},
		Publish:  []string{"room:*"},
	}.Sign(os.Getenv("ENCKE_TOKEN_SECRET"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(strings.Count(token, "."))
	// Output: 2
}

func ExampleWebhooks() {
	webhooks, err := encke.NewWebhooks("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		log.Fatal(err)
	}
	hook := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		var event struct{ Type, User, Channel string }
		if err != nil || webhooks.Verify(r.Header, body, &event) != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		json.NewEncoder(w).Encode(map[string]any{"allow": event.Type == "subscribe"})
	}
	body := `{"type":"subscribe","user":"alice","channel":"news"}`
	request := httptest.NewRequest("POST", "/encke", strings.NewReader(body))
	now := time.Now()
	request.Header.Set("Webhook-Id", "1")
	request.Header.Set("Webhook-Timestamp", fmt.Sprint(now.Unix()))
	request.Header.Set("Webhook-Signature", webhooks.Sign("1", now, []byte(body)))
	answer := httptest.NewRecorder()
	hook(answer, request)
	fmt.Println(answer.Body)
	// Output: {"allow":true}
}

// What README.md says to write stands in the examples above.
func TestReadmeHasTheExamples(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	examples, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllSubmatch(readme, -1)
	if len(found) < 4 {
		t.Fatalf("%d examples", len(found))
	}
	for _, one := range found {
		body := "\t" + strings.ReplaceAll(strings.TrimSpace(string(one[1])), "\n", "\n\t")
		body = strings.ReplaceAll(body, "\n\t\n", "\n\n")
		if !strings.Contains(string(examples), body) {
			t.Errorf("this is tested nowhere:\n%s", body)
		}
	}
}
