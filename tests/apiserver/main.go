// Command apiserver runs a real Kubernetes API server (k8s.io/kubernetes, unmodified) on real etcd
// (go.etcd.io/etcd/server/v3/embed) on loopback, for tests and benchmarks. No kubelet, no scheduler,
// no controller-manager, no container runtime: deleted namespaces stay Terminating for ever.
//
//	apiserver up --dir DIR [flags] [-- extra kube-apiserver flags]   etcd + API server in one process
//	apiserver etcd --dir DIR [flags]                                 etcd only
//	apiserver up --dir DIR --etcd-servers URL ...                    API server only (two of them on one etcd = HA tests)
//	apiserver kube-apiserver ARGS...                                 the stock kube-apiserver command line
//
// Called under the name kube-apiserver (a symlink), it is the stock kube-apiserver, so a directory with
// symlinks can serve as the kube-apiserver half of KUBEBUILDER_ASSETS.
//
// `up` prints one line of JSON on stdout when the server is ready, and exits on SIGTERM/SIGINT, or when
// stdin reaches end of file if --stdin-lease is given (so a dead parent leaves nothing behind).
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json, as the stock main has it
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // as the stock main has it
	_ "k8s.io/component-base/metrics/prometheus/version"  // as the stock main has it
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	if filepath.Base(os.Args[0]) == "kube-apiserver" {
		os.Exit(runAPIServer(os.Args[1:]))
	}
	if len(os.Args) < 2 {
		fatal("usage: apiserver up|etcd|kube-apiserver ...")
	}
	switch os.Args[1] {
	case "kube-apiserver":
		os.Exit(runAPIServer(os.Args[2:]))
	case "etcd":
		etcdOnly(os.Args[2:])
	case "up":
		os.Exit(up(os.Args[2:]))
	default:
		fatal("unknown command %q", os.Args[1])
	}
}

// runAPIServer is k8s.io/kubernetes/cmd/kube-apiserver/apiserver.go with the arguments set by hand.
// NewAPIServerCommand installs the process's only signal handler (SetupSignalContext panics if called
// twice), so it can be built once per process: run more servers as more processes.
func runAPIServer(args []string) int {
	cmd := app.NewAPIServerCommand()
	cmd.SetArgs(args)
	return cli.Run(cmd)
}

// A lease ties this process to its parent: the parent holds the other end of stdin, and end of file says that it
// is gone, however it died.
type lease struct {
	enabled   bool
	removeDir bool // the directory is the parent's scratch space: nobody else is left to remove it
	dir       string
}

func (l *lease) register(fs *flag.FlagSet) {
	fs.BoolVar(&l.enabled, "stdin-lease", false, "exit when stdin reaches end of file")
	fs.BoolVar(&l.removeDir, "remove-dir", false, "with --stdin-lease: remove DIR when the lease ends")
}

// watch ends the process when the lease ends. A parent that dies while this process is stopped makes its process
// group an orphan, for which the kernel sends SIGHUP and SIGCONT: SIGHUP is ignored, so that the process wakes
// up, reads end of file and ends in order.
func (l lease) watch() {
	if !l.enabled {
		return
	}
	signal.Ignore(syscall.SIGHUP)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		if l.removeDir {
			l.discard()
		}
		_ = syscall.Kill(os.Getpid(), syscall.SIGTERM)
		time.Sleep(15 * time.Second)
		os.Exit(3)
	}()
}

// discard exits at once: the data need no orderly end when they are removed. More than one try, since etcd still
// writes to the directory.
func (l lease) discard() {
	for range 20 {
		if os.RemoveAll(l.dir) == nil {
			break
		}
	}
	os.Exit(0)
}

// stickyPort returns the port kept in DIR/NAME, or picks a free one and keeps it there, so that a restarted
// server has the same address. It picks below the ephemeral range of the usual systems, where no outgoing
// connection can take it while the server is down. Between picking and listening another server can take it:
// rare, and the caller then sees a failed start.
func stickyPort(dir, name string) int {
	file := filepath.Join(dir, name)
	if b, err := os.ReadFile(file); err == nil {
		if p, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
			return p
		}
	}
	p := freePort()
	must(os.WriteFile(file, []byte(strconv.Itoa(p)), 0o600))
	return p
}

func freePort() int {
	for range 1000 {
		p := 20000 + rand.IntN(12000)
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p))); err == nil {
			must(l.Close())
			return p
		}
	}
	fatal("no free port from 20000 to 31999")
	return 0
}

func announce(v any) {
	b, err := json.Marshal(v)
	must(err)
	fmt.Println(string(b))
}

func mustURL(s string) url.URL {
	u, err := url.Parse(s)
	must(err)
	return *u
}

func require(v, name string) {
	if v == "" {
		fatal("%s is required", name)
	}
}

func must(err error) {
	if err != nil {
		fatal("%v", err)
	}
}

func fatal(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "apiserver: "+format+"\n", args...)
	os.Exit(1)
}
