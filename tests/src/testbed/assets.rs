//! A server made of the programs in `KUBEBUILDER_ASSETS`, which bring neither keys nor a lease of their own.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::json;
use tokio::time::{Duration, Instant, sleep, timeout};

use super::{
    ADMIN, Options,
    launch::{READY_LIMIT, Running, apiserver_flags, log_file},
};
use crate::process::{ChildProcess, Spawn, is_alive};

/// Runs a program, says its process id, and when stdin, the lease, ends, kills it and removes the directory `$0`. Whoever
/// wants to keep the directory kills the shell as well.
const SUPERVISE: &str =
    r#""$@" >&2 & child=$!; echo "pid $child"; cat >/dev/null; kill -KILL $child 2>/dev/null; rm -rf "$0""#;

/// Ports of one server, kept over restarts.
#[derive(serde::Serialize, serde::Deserialize)]
struct Ports {
    api: u16,
    etcd: u16,
    peer: u16,
}

/// Starts both programs and waits until the server is ready.
pub(super) async fn start(programs: &Path, options: &Options, dir: &Path) -> Result<Running> {
    let ports = prepare(options, dir)?;
    let etcd = supervise(&programs.join("etcd"), &etcd_flags(options, dir, &ports), dir).await?;
    let api_server =
        supervise(&programs.join("kube-apiserver"), &kube_apiserver_flags(options, dir, &ports), dir).await?;
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.api));
    let running = Running { api_server, etcd: Some(etcd), addr };
    wait_until_ready(&running, dir).await?;
    Ok(running)
}

async fn supervise(program: &Path, flags: &[String], dir: &Path) -> Result<ChildProcess> {
    let spawn = Spawn::program("sh").args(["-c", SUPERVISE]).arg(dir).arg(program).args(flags);
    // Named differently by etcd 3.5 and 3.6, of which each ignores the other's variable. It makes bookmarks flow.
    let spawn = spawn
        .env("ETCD_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL", "5s")
        .env("ETCD_WATCH_PROGRESS_NOTIFY_INTERVAL", "5s");
    let mut child = spawn.stderr_to(&log_file(dir))?.spawn()?;
    let line = child.line_with("pid ", Duration::from_secs(10)).await?;
    child.signal_instead(line.trim_start_matches("pid ").parse().context("a process id")?)?;
    Ok(child)
}

fn etcd_flags(options: &Options, dir: &Path, ports: &Ports) -> Vec<String> {
    let (client, peer) = (loopback("http", ports.etcd), loopback("http", ports.peer));
    let mut flags = vec![
        format!("--data-dir={}", dir.join("etcd").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        format!("--unsafe-no-fsync={}", !options.fsync),
        "--log-level=error".into(),
    ];
    flags.extend(options.etcd_quota.map(|bytes| format!("--quota-backend-bytes={bytes}")));
    flags
}

/// The same settings as in `tests/apiserver/server.go`, where their reasons are.
fn kube_apiserver_flags(options: &Options, dir: &Path, ports: &Ports) -> Vec<String> {
    let file = |name: &str| dir.join(name).display().to_string();
    let mut flags = vec![
        format!("--etcd-servers={}", loopback("http", ports.etcd)),
        "--bind-address=127.0.0.1".into(),
        format!("--secure-port={}", ports.api),
        format!("--cert-dir={}", dir.display()),
        format!("--tls-cert-file={}", file("apiserver.crt")),
        format!("--tls-private-key-file={}", file("apiserver.key")),
        format!("--token-auth-file={}", file("tokens.csv")),
        "--anonymous-auth=false".into(),
        "--authorization-mode=RBAC".into(),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".into(),
        format!("--service-account-signing-key-file={}", file("sa.key")),
        format!("--service-account-key-file={}", file("sa.pub")),
        "--service-cluster-ip-range=10.0.0.0/24".into(),
        "--advertise-address=127.0.0.1".into(),
        "--endpoint-reconciler-type=none".into(),
        "--disable-admission-plugins=ServiceAccount".into(),
        format!("--watch-cache={}", options.watch_cache),
        "--profiling=false".into(),
    ];
    flags.extend(apiserver_flags(options));
    flags
}

/// Makes ports, keys, tokens and kubeconfigs, unless the directory has them from an earlier start.
fn prepare(options: &Options, dir: &Path) -> Result<Ports> {
    let file = dir.join("ports.json");
    if let Ok(kept) = fs::read(&file) {
        return serde_json::from_slice(&kept).context("the ports of an earlier start");
    }
    let ports = Ports { api: free_port()?, etcd: free_port()?, peer: free_port()? };
    make_keys(dir).context("make the server's keys")?;
    make_users(options, dir, ports.api)?;
    fs::write(&file, serde_json::to_vec(&ports)?)?; // last: its presence says the rest is there
    Ok(ports)
}

/// Makes a CA, the server's certificate and the key of `ServiceAccount` tokens. A CA of its own, since rustls
/// refuses a self-signed CA as the server's certificate.
fn make_keys(dir: &Path) -> Result<()> {
    let (ca_key, key, account_key) = (KeyPair::generate()?, KeyPair::generate()?, KeyPair::generate()?);
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "msync-testbed-ca");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_cert = ca.self_signed(&ca_key)?;

    let mut server = CertificateParams::new(["127.0.0.1".into(), "localhost".into()])?;
    server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let cert = server.signed_by(&key, &Issuer::from_params(&ca, &ca_key))?;

    fs::write(dir.join("apiserver.crt"), cert.pem())?;
    fs::write(dir.join("apiserver.key"), key.serialize_pem())?;
    fs::write(dir.join("sa.key"), account_key.serialize_pem())?;
    // The API server derives the public key from an SEC1 private key, but not from rcgen's PKCS #8.
    fs::write(dir.join("sa.pub"), account_key.public_key_pem())?;
    fs::write(dir.join("ca.crt"), ca_cert.pem()).context("write the CA's certificate")
}

fn make_users(options: &Options, dir: &Path, port: u16) -> Result<()> {
    use std::fmt::Write;
    let ca = dir.join("ca.crt");
    let mut tokens = String::new();
    for user in options.users.iter().map(String::as_str).chain([ADMIN]) {
        let token = format!("{:016x}{:016x}", getrandom::u64()?, getrandom::u64()?);
        let groups = if user == ADMIN { ",\"system:masters\"" } else { "" };
        writeln!(tokens, "{token},{user},uid-{user}{groups}")?;
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "testbed",
            "clusters": [{"name": "testbed", "cluster": {
                "server": loopback("https", port), "certificate-authority": ca,
            }}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": user, "namespace": "default"}}],
        });
        fs::write(dir.join(format!("{user}.kubeconfig")), kubeconfig.to_string())?; // JSON is YAML
    }
    fs::write(dir.join("tokens.csv"), tokens).context("write the tokens")
}

/// A port below the usual ephemeral range, where no outgoing connection takes it while the server is down.
fn free_port() -> Result<u16> {
    for _ in 0..1000 {
        let port = 20_000 + u16::try_from(getrandom::u32()? % 12_000)?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port from 20000 to 31999")
}

fn loopback(scheme: &str, port: u16) -> String {
    format!("{scheme}://127.0.0.1:{port}")
}

/// Ready means that the namespace `default` exists, which comes after `/readyz`.
async fn wait_until_ready(running: &Running, dir: &Path) -> Result<()> {
    let kubeconfig = Kubeconfig::read_from(dir.join(format!("{ADMIN}.kubeconfig")))?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    config.proxy_url = None;
    let namespaces: Api<Namespace> = Api::all(Client::try_from(config)?);
    let deadline = Instant::now() + READY_LIMIT;
    loop {
        if let Ok(Ok(_)) = timeout(Duration::from_secs(2), namespaces.get("default")).await {
            return Ok(());
        }
        if !is_alive(running.api_server().pid()) || Instant::now() > deadline {
            bail!("the API server did not become ready");
        }
        sleep(Duration::from_millis(25)).await;
    }
}
