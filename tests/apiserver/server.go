package main

// `up`: the API server, with everything it needs, in one directory.

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

type serverFlags struct {
	etcd                             etcdFlags
	lease                            lease
	etcdServers, host, users, runCfg string
	port                             int
	watchCache, apf                  bool
	extra                            []string
}

func (s *serverFlags) parse(args []string) {
	fs := flag.NewFlagSet("up", flag.ExitOnError)
	fs.StringVar(&s.etcd.dir, "dir", "", "state directory (required): keys, kubeconfigs, ports, etcd data; reuse it to restart the same server")
	fs.StringVar(&s.etcdServers, "etcd-servers", "", "use these etcd servers instead of the embedded one")
	fs.StringVar(&s.host, "host", "127.0.0.1", "address to serve on")
	fs.IntVar(&s.port, "port", 0, "port to serve on (default: a free port, kept in DIR over restarts)")
	fs.StringVar(&s.users, "users", "", "comma-separated extra users without any rights (grant them with RBAC objects); each gets DIR/NAME.kubeconfig")
	fs.StringVar(&s.runCfg, "runtime-config", "", "as kube-apiserver's, e.g. coordination.k8s.io/v1beta1=true for LeaseCandidates")
	fs.BoolVar(&s.watchCache, "watch-cache", true, "as kube-apiserver's")
	fs.BoolVar(&s.apf, "enable-priority-and-fairness", true, "as kube-apiserver's")
	s.lease.register(fs)
	s.etcd.register(fs)
	must(fs.Parse(args))
	require(s.etcd.dir, "--dir")
	dir, err := filepath.Abs(s.etcd.dir)
	must(err)
	s.etcd.dir, s.lease.dir = dir, dir
	s.extra = fs.Args() // after "--"
}

func up(args []string) int {
	var s serverFlags
	s.parse(args)
	dir := s.etcd.dir
	must(os.MkdirAll(dir, 0o700))
	s.lease.watch() // first: a parent that dies during the start counts too

	var etcd *embed.Etcd
	if s.etcdServers == "" {
		etcd, s.etcdServers = startEtcd(s.etcd)
	}
	if s.port == 0 {
		s.port = stickyPort(dir, "api.port")
	}
	url := "https://" + net.JoinHostPort(s.host, strconv.Itoa(s.port))
	caPEM := ensurePKI(dir, s.host)
	tokens := ensureTokens(dir, s.userNames())
	for name, token := range tokens {
		writeKubeconfig(filepath.Join(dir, name+".kubeconfig"), url, caPEM, name, token)
	}
	go s.announceWhenReady(url, caPEM, tokens["admin"])

	code := runAPIServer(s.apiServerArgs())
	if etcd != nil {
		etcd.Close()
	}
	return code
}

func (s *serverFlags) userNames() []string {
	names := []string{"admin"}
	for _, n := range strings.Split(s.users, ",") {
		if n = strings.TrimSpace(n); n != "" {
			names = append(names, n)
		}
	}
	return names
}

func (s *serverFlags) apiServerArgs() []string {
	args := []string{
		"--etcd-servers=" + s.etcdServers,
		"--bind-address=" + s.host,
		"--secure-port=" + strconv.Itoa(s.port),
		"--cert-dir=" + s.etcd.dir,
		"--tls-cert-file=" + filepath.Join(s.etcd.dir, "apiserver.crt"),
		"--tls-private-key-file=" + filepath.Join(s.etcd.dir, "apiserver.key"),
		"--client-ca-file=" + filepath.Join(s.etcd.dir, "ca.crt"), // client certificates signed by this CA work too (CN = user, O = groups)
		"--token-auth-file=" + filepath.Join(s.etcd.dir, "tokens.csv"),
		"--anonymous-auth=false",
		"--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-signing-key-file=" + filepath.Join(s.etcd.dir, "sa.key"),
		"--service-account-key-file=" + filepath.Join(s.etcd.dir, "sa.key"),
		"--service-cluster-ip-range=10.0.0.0/24",
		// The endpoints of default/kubernetes may not be loopback addresses, so do not maintain them.
		"--advertise-address=127.0.0.1",
		"--endpoint-reconciler-type=none",
		// Only concerns pods: their default ServiceAccount is made by a controller that does not run here.
		"--disable-admission-plugins=ServiceAccount",
		"--watch-cache=" + strconv.FormatBool(s.watchCache),
		"--enable-priority-and-fairness=" + strconv.FormatBool(s.apf),
		"--profiling=false",
	}
	if s.runCfg != "" {
		args = append(args, "--runtime-config="+s.runCfg)
	}
	return append(args, s.extra...) // a repeated flag wins over ours
}

func (s *serverFlags) announceWhenReady(url string, caPEM []byte, token string) {
	start, dir := time.Now(), s.etcd.dir
	waitReady(url, caPEM, token)
	announce(map[string]any{
		"server": url, "kubeconfig": filepath.Join(dir, "admin.kubeconfig"), "ca": filepath.Join(dir, "ca.crt"),
		"token": token, "etcd": s.etcdServers, "pid": os.Getpid(),
		"ready_ms": time.Since(start).Milliseconds(),
	})
}

// waitReady waits for /readyz, then for the namespace "default": a controller inside the API server makes
// it shortly after readiness.
func waitReady(server string, caPEM []byte, token string) {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(caPEM)
	c := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}}
	for _, path := range []string{"/readyz", "/api/v1/namespaces/default"} {
		for deadline := time.Now().Add(120 * time.Second); ; time.Sleep(25 * time.Millisecond) {
			req, err := http.NewRequest(http.MethodGet, server+path, nil)
			must(err)
			req.Header.Set("Authorization", "Bearer "+token)
			if resp, err := c.Do(req); err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode == http.StatusOK {
					break
				}
			}
			if time.Now().After(deadline) {
				fatal("%s: not ready after 120 s", path)
			}
		}
	}
}
