// Works under a cluster-wide lock, by the msync sidecar of this pod: go run lock.go NAME [SECONDS]
//
// Standard library only, Go 1.21 or newer.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

var (
	url    = setting("MSYNC_URL", "http://localhost:8080")
	client = setting("MSYNC_CLIENT_ID", hostAndPid())
	ttl    = seconds(setting("MSYNC_TTL", "30"))  // so long after the last beat the lock goes to others
	wait   = seconds(setting("MSYNC_WAIT", "60")) // of one request in the queue; then it is repeated
)

// ErrLost is the cause with which the context of the work ends when the lock is not ours any more.
var ErrLost = errors.New("lost the lock")

// lock is one hold, or the attempt to get it.
type lock struct {
	url      string
	token    uint64    // the fencing token
	deadline time.Time // until when it is safely ours; has a monotonic reading
}

// WithLock waits for the lock, does the work under it and releases it. The context of the work ends on loss.
func WithLock(ctx context.Context, name string, work func(ctx context.Context, token uint64) error) error {
	l := &lock{url: url + "/locks/" + name}
	if err := l.acquire(ctx); err != nil {
		// It may have been granted in this very moment.
		_, _ = l.ask(context.Background(), http.MethodDelete, "", ttl/3)
		return err
	}
	token := l.token
	held, lose := context.WithCancelCause(ctx)
	beats, done := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); l.beat(beats, lose) }()
	defer func() {
		done()
		<-ended
		// Without an answer it ends by its ttl; 404 and 403 say that it has ended already.
		_, _ = l.ask(context.Background(), http.MethodDelete, "", ttl/3)
		lose(nil)
	}()
	return work(held, token)
}

func (l *lock) acquire(ctx context.Context) error {
	query := fmt.Sprintf("?wait=%.0f&ttl=%.0f", wait.Seconds(), ttl.Seconds())
	for {
		status, err := l.ask(ctx, http.MethodPut, query, wait+10*time.Second)
		switch {
		case ctx.Err() != nil: // the connection is closed, which leaves the queue
			return ctx.Err()
		case status == http.StatusOK:
			return nil
		case status == http.StatusConflict: // somebody else had it all the while
		case again(status, err):
			log.Printf("the sidecar answers %d, trying again: %v", status, err)
			pause(ctx, time.Second)
		default:
			return fmt.Errorf("%s: %d", l.url, status)
		}
	}
}

func (l *lock) beat(ctx context.Context, lose context.CancelCauseFunc) {
	next := ttl / 3
	for pause(ctx, next) {
		// Not cut short when the work is done: what arrives after the release would take the lock anew.
		status, err := l.ask(context.Background(), http.MethodPut, fmt.Sprintf("?ttl=%.0f", ttl.Seconds()), ttl/3)
		left := time.Until(l.deadline)
		switch {
		case status == http.StatusOK:
			next = ttl / 3
		case again(status, err) && left > 0:
			next = min(time.Second, left)
		default:
			lose(ErrLost)
			return
		}
	}
}

// ask returns the status of one request, or an error if there is no answer.
func (l *lock) ask(ctx context.Context, method, query string, patience time.Duration) (int, error) {
	sent := time.Now()
	if left := l.deadline.Sub(sent); l.token != 0 {
		patience = min(patience, left)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, l.url+query, nil)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Msync-Client-Id", client)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body) // so that the connection can be used again
	if method == http.MethodPut && answer.StatusCode == http.StatusOK {
		remaining, err := strconv.ParseFloat(answer.Header.Get("Msync-Remaining-Seconds"), 64)
		if err != nil {
			return 0, err
		}
		if l.token, err = strconv.ParseUint(answer.Header.Get("Msync-Fencing-Token"), 10, 64); err != nil {
			return 0, err
		}
		l.deadline = sent.Add(time.Duration(remaining * float64(time.Second)))
	}
	return answer.StatusCode, nil
}

// again tells whether to repeat: no answer, heard too late, or no locks to be had just now.
func again(status int, err error) bool {
	return err != nil || status == http.StatusRequestTimeout || status == http.StatusServiceUnavailable
}

// pause is false if the context ended.
func pause(ctx context.Context, length time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(length):
		return true
	}
}

func setting(name, otherwise string) string {
	if value, ok := os.LookupEnv(name); ok {
		return value
	}
	return otherwise
}

func seconds(text string) time.Duration {
	number, err := strconv.ParseFloat(text, 64)
	if err != nil {
		log.Fatal(err)
	}
	return time.Duration(number * float64(time.Second))
}

func hostAndPid() string {
	host, _ := os.Hostname()
	return fmt.Sprintf("%s-%d", host, os.Getpid())
}

func main() {
	if len(os.Args) < 2 {
		log.Fatal("usage: lock NAME [SECONDS]")
	}
	name, length := os.Args[1], "1"
	if len(os.Args) > 2 {
		length = os.Args[2]
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM) // released, it is the next one's at once
	defer stop()
	err := WithLock(ctx, name, func(ctx context.Context, token uint64) error {
		fmt.Printf("%s holds %s, fencing token %d\n", client, name, token)
		// The work: it gives the token to whatever it writes to, and ends when the lock is lost.
		if !pause(ctx, seconds(length)) {
			return context.Cause(ctx)
		}
		fmt.Printf("%s is done\n", client)
		return nil
	})
	if err != nil {
		log.Fatalf("%s: %v", client, err)
	}
}
