// Command etcdmutex is a contender for one of etcd's own mutexes, by etcd's own client: what benchmarks put beside
// msync's hand-off. It says "ready" when its session is open, then acquires the lock, and takes orders on stdin:
//
//	holds NANOS      it has the lock, since then
//	                 any line on stdin: it gives the lock back, and at once asks for it again
//	releases NANOS   from the moment before it gave the lock back
//
// Moments are of CLOCK_BOOTTIME, as msync's are. It ends when stdin does.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) != 3 {
		fatal("usage: etcdmutex ENDPOINT LOCK")
	}
	if err := contend(os.Args[1], os.Args[2]); err != nil {
		fatal("%v", err)
	}
}

func contend(endpoint, lock string) error {
	orders := make(chan struct{})
	go follow(orders)
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}})
	if err != nil {
		return err
	}
	session, err := concurrency.NewSession(client, concurrency.WithTTL(60))
	if err != nil {
		return err
	}
	fmt.Println("ready")
	ctx := context.Background()
	for {
		// One object an acquisition: a Mutex remembers the key of its last one.
		mutex := concurrency.NewMutex(session, lock)
		if err := mutex.Lock(ctx); err != nil {
			return err
		}
		say("holds")
		<-orders
		say("releases")
		if err := mutex.Unlock(ctx); err != nil {
			return err
		}
	}
}

// follow hands over one order a line, and ends the process with its parent: what it held ends with its session's ttl.
func follow(orders chan<- struct{}) {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		orders <- struct{}{}
	}
	os.Exit(0)
}

func say(what string) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		fatal("read the clock: %v", err)
	}
	fmt.Println(what, now.Nano())
}

func fatal(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "etcdmutex: "+format+"\n", args...)
	os.Exit(1)
}
