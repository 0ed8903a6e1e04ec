package main

// The embedded etcd.

import (
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/wal"
)

type etcdFlags struct {
	dir, clientURL, logLevel string
	fsync                    bool
	progress                 time.Duration
	quota                    int64
}

func (e *etcdFlags) register(fs *flag.FlagSet) {
	fs.StringVar(&e.clientURL, "etcd-listen", "", "client URL of the embedded etcd, e.g. http://127.0.0.1:2379 (default: a free port, kept in DIR over restarts)")
	fs.BoolVar(&e.fsync, "fsync", false, "let etcd fsync (benchmarks, crash tests); off is etcd's --unsafe-no-fsync")
	fs.StringVar(&e.logLevel, "etcd-log-level", "error", "debug, info, warn, error")
	fs.DurationVar(&e.progress, "etcd-watch-progress", 5*time.Second, "etcd watch progress notify interval; 5s is what Kubernetes' own setups use, it makes watch bookmarks flow")
	fs.Int64Var(&e.quota, "etcd-quota-bytes", 0, "0 is etcd's default; a small one provokes 'mvcc: database space exceeded'")
}

func startEtcd(e etcdFlags) (*embed.Etcd, string) {
	if e.clientURL == "" {
		e.clientURL = fmt.Sprintf("http://127.0.0.1:%d", stickyPort(e.dir, "etcd-client.port"))
	}
	client := mustURL(e.clientURL)
	peer := mustURL(fmt.Sprintf("http://127.0.0.1:%d", stickyPort(e.dir, "etcd-peer.port")))

	cfg := embed.NewConfig()
	cfg.Name = "default"
	cfg.Dir = filepath.Join(e.dir, "etcd")
	must(os.MkdirAll(cfg.Dir, 0o700))
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name) // a restart on the same dir ignores it
	cfg.UnsafeNoFsync = !e.fsync
	if !e.fsync {
		wal.SegmentSizeBytes = 4 << 20 // etcd preallocates two segments of 64 MB; exported for tests to change
	}
	cfg.WatchProgressNotifyInterval = e.progress // etcd >= 3.6; 3.5 has ExperimentalWatchProgressNotifyInterval
	cfg.QuotaBackendBytes = e.quota
	cfg.Logger, cfg.LogLevel, cfg.LogOutputs = "zap", e.logLevel, []string{"stderr"}

	etcd, err := embed.StartEtcd(cfg)
	must(err)
	select {
	case <-etcd.Server.ReadyNotify():
	case err := <-etcd.Err():
		fatal("etcd: %v", err)
	case <-time.After(60 * time.Second):
		etcd.Close()
		fatal("etcd: not ready after 60 s")
	}
	go func() {
		if err, ok := <-etcd.Err(); ok && err != nil {
			fatal("etcd died: %v", err)
		}
	}()
	return etcd, e.clientURL
}

func etcdOnly(args []string) {
	var e etcdFlags
	fs := flag.NewFlagSet("etcd", flag.ExitOnError)
	fs.StringVar(&e.dir, "dir", "", "state directory (required)")
	var l lease
	l.register(fs)
	e.register(fs)
	must(fs.Parse(args))
	require(e.dir, "--dir")
	must(os.MkdirAll(e.dir, 0o700))
	etcd, u := startEtcd(e)
	announce(map[string]any{"etcd": u, "pid": os.Getpid()})
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, syscall.SIGTERM, syscall.SIGINT)
	l.dir = e.dir
	l.watch()
	<-sig
	etcd.Close()
}
