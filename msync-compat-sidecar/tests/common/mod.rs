//! A sidecar's front and server over stand-ins, in this process or in one of its own, and a plain client.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::disallowed_methods, reason = "sockets need real time; limits are generous")]

pub(crate) mod store;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use msync_compat_sidecar::api::{Call, Lock, Outcome, Request, Verb};
use msync_compat_sidecar::front::{self, Front, Hosts, Limits};
use msync_compat_sidecar::server::{Locks, Server};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Locks without a store: `absent` is absent, `slow` takes 3 s, `never` for ever, `panic` panics, any other is held
/// here by the client that asks, whose id is shown as the owner.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stub {
    waiting: Arc<AtomicUsize>,
}

impl Stub {
    /// How many long requests are waiting, as far as the server knows.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }
}

/// Counts for as long as it lives.
struct One(Arc<AtomicUsize>);

impl One {
    fn more(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Locks for Stub {
    fn call(&self, request: Request) -> impl Future<Output = Outcome> + Send + 'static {
        let Request::Lock(call) = request else { panic!("no test asks the stub that: {request:?}") };
        assert_ne!(call.name.as_str(), "panic", "as the test asks");
        let one = matches!(call.verb, Verb::Put { wait, .. } if !wait.is_zero()).then(|| One::more(&self.waiting));
        async move {
            match call.name.as_str() {
                "never" => std::future::pending().await,
                "slow" => tokio::time::sleep(Duration::from_secs(3)).await,
                "panic-later" => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    panic!("as the test asks");
                }
                "absent" if call.verb == Verb::Get => return Outcome::Absent(None),
                _ => {}
            }
            drop(one);
            Outcome::Good(lock(call))
        }
    }
}

fn lock(call: Call) -> Lock {
    Lock {
        name: call.name,
        namespace: "default".into(),
        version: "1".into(),
        created: None,
        owner: call.client.map_or("stub".into(), |client| client.to_string()),
        expiry: None,
        grant: None,
        watch: None,
    }
}

/// A front and its server on a free port.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    // Dropped in this order: the front's runtime before the server that it talks to.
    runtime: Option<Runtime>,
    _server: Server,
}

impl Served {
    pub(crate) fn start<L: Locks>(limits: Limits, locks: L) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let server = Server::start(&Arc::new(locks), &[std::env::temp_dir()], runtime.handle()).unwrap();
        let stop = CancellationToken::new();
        let front = Front::new(server.doors(), limits, Hosts::loopback(), stop.clone());
        let listeners = runtime.block_on(async { front::listen(&[IpAddr::V4(Ipv4Addr::LOCALHOST)], 0).unwrap() });
        let address = listeners[0].local_addr().unwrap();
        runtime.spawn(front.run(listeners));
        Self { address, stop, runtime: Some(runtime), _server: server }
    }

    pub(crate) fn serves_a_good_request(&self) {
        serves_a_good_request(self.address);
    }

    pub(crate) fn handle(&self) -> tokio::runtime::Handle {
        self.runtime.as_ref().unwrap().handle().clone()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
        self.runtime.take().unwrap().shutdown_timeout(Duration::from_secs(1));
    }
}

/// A server in a process of its own, whose memory, threads and descriptors can be looked at.
pub(crate) struct Child {
    pub(crate) address: SocketAddr,
    process: std::process::Child,
    _alive: ChildStdin,
}

impl Child {
    pub(crate) fn start() -> Self {
        Self::spawn(Command::new(std::env::current_exe().unwrap()))
    }

    pub(crate) fn with_descriptors(count: u64) -> Self {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -n {count} && exec \"$0\" \"$@\"")).arg(std::env::current_exe().unwrap());
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        command.args(["--ignored", "--exact", "--nocapture", "child"]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let alive = process.stdin.take().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines.map(Result::unwrap).find_map(|line| line.split("LISTEN ").nth(1)?.trim().parse().ok());
        Self { address: address.expect("the child says where it listens"), process, _alive: alive }
    }

    pub(crate) fn serves_a_good_request(&self) {
        serves_a_good_request(self.address);
    }

    pub(crate) fn memory_kib(&self) -> u64 {
        self.status("VmRSS:")
    }

    pub(crate) fn threads(&self) -> u64 {
        self.status("Threads:")
    }

    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap().count()
    }

    pub(crate) fn limit_descriptors(&self, count: u64) {
        let pid = rustix::process::Pid::from_child(&self.process);
        let limit = rustix::process::Rlimit { current: Some(count), maximum: Some(4096) };
        rustix::process::prlimit(Some(pid), rustix::process::Resource::Nofile, limit).unwrap();
    }

    fn status(&self, field: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves until standard input ends.
pub(crate) fn be_child() {
    let served = Served::start(Limits::default().afforded().unwrap(), Stub::default());
    println!("LISTEN {}", served.address);
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// Descriptors this process may open, after raising its limit.
pub(crate) fn descriptors_allowed() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let old = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: old.maximum, maximum: old.maximum });
    usize::try_from(getrlimit(Resource::Nofile).current.unwrap_or(1 << 20)).unwrap()
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Value,
}

impl Reply {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn closes(&self) -> bool {
        self.field("connection") == Some("close")
    }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends these bytes on a new connection and reads answers until the server closes.
pub(crate) fn talk(address: SocketAddr, bytes: &[u8]) -> Vec<Reply> {
    let mut stream = connect(address);
    // A server that refuses early may stop reading; its answer is what counts.
    let _ = stream.write_all(bytes);
    read_replies(&mut stream, usize::MAX)
}

pub(crate) fn read_replies(stream: &mut TcpStream, most: usize) -> Vec<Reply> {
    let mut replies = Vec::new();
    while replies.len() < most
        && let Some(reply) = read_reply(stream)
    {
        replies.push(reply);
    }
    replies
}

/// The next answer; `None` when the connection ends before it. Its body must be a JSON object or empty.
pub(crate) fn read_reply(stream: &mut TcpStream) -> Option<Reply> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(0) => {
                assert!(head.is_empty(), "half an answer");
                return None;
            }
            Ok(_) => head.push(byte[0]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset && head.is_empty() => return None,
            Err(error) => panic!("{error}"),
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let fields = lines.filter_map(|line| line.split_once(": "));
    let fields: Vec<_> = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let mut reply = Reply { status, fields, body: Value::Null };
    let length = reply.field("content-length").map_or(0, |text| text.parse().unwrap());
    assert!(length > 0 || status == 204 || reply.field("content-length").is_some(), "no length");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    if !body.is_empty() {
        reply.body = serde_json::from_slice(&body).unwrap();
        assert!(reply.body.is_object(), "{}", reply.body);
    }
    Some(reply)
}

/// Retries while the server recovers from what the test did to it.
fn serves_a_good_request(address: SocketAddr) {
    let begun = Instant::now();
    loop {
        let reply = talk(address, b"GET /locks/good HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").pop();
        if reply.as_ref().is_some_and(|reply| reply.status == 200) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{reply:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
