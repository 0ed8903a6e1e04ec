// Command leaderelection is a candidate of an election by client-go's own leaderelection package: what msync's elections on
// Leases are tested beside. It campaigns at once, and says on stdout
//
//	leads NANOS           it leads, since then
//	sees HOLDER NANOS     somebody else does
//	stopped NANOS         it leads no more
//
// Moments are of CLOCK_BOOTTIME, as msync's are. A line on stdin makes it give up what it has and end, as controllers do at
// SIGTERM (ReleaseOnCancel); the end of stdin ends it at once.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

func main() {
	if len(os.Args) != 6 {
		fatal("usage: leaderelection KUBECONFIG NAMESPACE LEASE IDENTITY SECONDS")
	}
	seconds, err := strconv.Atoi(os.Args[5])
	if err != nil {
		fatal("%v", err)
	}
	if err := campaign(os.Args[1], os.Args[2], os.Args[3], os.Args[4], time.Duration(seconds)*time.Second); err != nil {
		fatal("%v", err)
	}
}

func campaign(kubeconfig, namespace, name, identity string, lease time.Duration) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	ctx, resign := context.WithCancel(context.Background())
	go follow(resign)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: name},
			Client:     client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
		},
		// The proportions of its own defaults: 15, 10 and 2 seconds.
		LeaseDuration:   lease,
		RenewDeadline:   lease * 2 / 3,
		RetryPeriod:     lease * 2 / 15,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { say("leads") },
			OnStoppedLeading: func() { say("stopped") },
			OnNewLeader: func(holder string) {
				if holder != identity {
					say("sees " + holder)
				}
			},
		},
	})
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		elector.Run(ctx)
	}
	return nil
}

func follow(resign func()) {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		resign()
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
	fmt.Fprintf(os.Stderr, "leaderelection: "+format+"\n", args...)
	os.Exit(1)
}
