package encke

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"sync/atomic"
	"time"
)

// window is how many requests of a stream may be without a result.
const window = 64

var errBrokenOff = errors.New("the stream broke off")

// stream sends requests, a line of JSON each, and gives the results, a line each. The server answers while the
// request goes on.
func stream[In, Out any](
	ctx context.Context, c *Client, path string, requests iter.Seq[In], body func(In) any,
) iter.Seq2[Out, error] {
	return func(yield func(Out, error) bool) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		lines, out := io.Pipe()
		// The source ends with the results. The transport waits for what it reads from, so that ends as well.
		stop := context.AfterFunc(ctx, func() { lines.CloseWithError(context.Cause(ctx)) })
		defer stop()
		defer lines.Close()
		s := &sender{ctx: ctx, cancel: cancel, places: make(chan struct{}, window), timeout: c.Timeout}
		s.late = time.AfterFunc(c.Timeout, s.end)
		defer s.late.Stop()
		go send(s, out, requests, body)
		if err := receive(s, c, path, lines, yield); err != nil {
			var none Out
			yield(none, err)
		}
	}
}

// A sender knows how many requests wait for their result.
type sender struct {
	ctx      context.Context
	cancel   context.CancelCauseFunc
	places   chan struct{}
	underWay atomic.Int64
	// begun is whether the answer has begun, over whether there are no more requests: then it has to end.
	begun, over atomic.Bool
	// withCaller is whether the caller has a result, and takes the next when it is done with it.
	withCaller atomic.Bool
	timeout    time.Duration
	// late ends the stream when what is due has not come for too long.
	late *time.Timer
}

// end ends the stream, unless only the source or the caller takes its time.
func (s *sender) end() {
	isDue := !s.begun.Load() || s.over.Load() || s.underWay.Load() > 0
	if isDue && !s.withCaller.Load() {
		s.cancel(context.DeadlineExceeded)
	}
}

func send[In any](s *sender, out *io.PipeWriter, requests iter.Seq[In], body func(In) any) {
	for request := range requests {
		line, err := json.Marshal(body(request))
		if err != nil {
			s.cancel(fmt.Errorf("encke: %w", err))
			return
		}
		select {
		case <-s.ctx.Done():
			return
		case s.places <- struct{}{}:
		}
		if s.underWay.Load() == 0 {
			s.late.Reset(s.timeout)
		}
		s.underWay.Add(1)
		if _, err := out.Write(append(line, '\n')); err != nil {
			return
		}
	}
	s.late.Reset(s.timeout)
	s.over.Store(true)
	out.Close()
}

// receive gives results until there are no more; it returns what went wrong.
func receive[Out any](s *sender, c *Client, path string, lines io.Reader, yield func(Out, error) bool) error {
	request, err := c.request(s.ctx, http.MethodPost, path, lines)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-ndjson")
	response, err := c.HTTP.Do(request)
	if err != nil {
		return s.noAnswer(err)
	}
	defer response.Body.Close()
	s.begun.Store(true)
	if response.StatusCode >= 300 {
		text, err := io.ReadAll(io.LimitReader(response.Body, answerMax))
		if err != nil {
			return s.noAnswer(err)
		}
		return refusal(response, text)
	}
	for results := bufio.NewReader(response.Body); ; {
		line, err := results.ReadBytes('\n')
		if err == io.EOF && len(line) == 0 && s.underWay.Load() == 0 {
			return nil
		}
		if err != nil {
			return s.noAnswer(errors.Join(errBrokenOff, err))
		}
		var result Out
		if json.Unmarshal(line, &result) != nil {
			return refusal(response, line)
		}
		s.answered()
		if !yield(result, nil) {
			return nil
		}
		s.goesOn()
	}
}

func (s *sender) answered() {
	s.withCaller.Store(true)
	s.underWay.Add(-1)
	<-s.places
}

func (s *sender) goesOn() {
	s.late.Reset(s.timeout)
	s.withCaller.Store(false)
}

// noAnswer is why the stream ended: what ended it on purpose, before what the connection says of that.
func (s *sender) noAnswer(err error) error {
	if cause := context.Cause(s.ctx); cause != nil {
		err = cause
	}
	return noAnswer(err)
}
