//! The requests of the six original bindings, byte for byte as they were captured, at two sidecars over one store.
//!
//! Only the Python binding can still be had from a registry (the workspace's tests run it); these stand for the others.
#![allow(clippy::disallowed_methods, reason = "sockets need real time; limits are generous")]

mod common;

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpStream};

use common::Reply;
use common::store::{Engine, World};
use msync_compat_sidecar::front::{Hosts, Limits};
use msync_compat_sidecar::session::{Identity, Part};
use msync_compat_sidecar::sidecar::{Bound, Manner, Sidecar};
use tokio::runtime::Runtime;

/// What one binding sends, but for the name of the lock.
struct Binding {
    name: &'static str,
    /// Which of the two ports it knows: 8080 is the first here, 13131 the second.
    port: usize,
    get: &'static str,
    put: &'static str,
    connections: Connections,
}

#[derive(Clone, Copy, PartialEq)]
enum Connections {
    /// One for all requests.
    Kept,
    /// One for each, which the server is asked to close.
    Closed,
    /// One for each, which the client closes once it has its answer.
    Once,
}

const BINDINGS: [Binding; 6] = [
    Binding {
        name: "python",
        port: 1,
        get: "GET /locks/NAME HTTP/1.1\r\nAccept-Encoding: identity\r\nHost: localhost:13131\r\n\
              User-Agent: Python-urllib/3.11\r\nConnection: close\r\n\r\n",
        put: "PUT /locks/NAME HTTP/1.1\r\nAccept-Encoding: identity\r\nContent-Length: 0\r\n\
              Host: localhost:13131\r\nUser-Agent: Python-urllib/3.11\r\nAccept: application/json\r\n\
              Connection: close\r\n\r\n",
        connections: Connections::Closed,
    },
    Binding {
        name: "javascript",
        port: 1,
        get: "GET /locks/NAME HTTP/1.1\r\nhost: localhost:13131\r\nConnection: keep-alive\r\n\r\n",
        put: "PUT /locks/NAME HTTP/1.1\r\nhost: localhost:13131\r\ncontent-length: 0\r\n\
              Connection: keep-alive\r\n\r\n",
        connections: Connections::Kept,
    },
    Binding {
        name: "java",
        port: 1,
        get: "GET /locks/NAME HTTP/1.1\r\naccept: application/json\r\naccept-encoding: gzip\r\n\
              user-agent: unirest-java/1.3.11\r\nHost: localhost:13131\r\nConnection: Keep-Alive\r\n\r\n",
        put: "PUT /locks/NAME HTTP/1.1\r\naccept: application/json\r\naccept-encoding: gzip\r\n\
              user-agent: unirest-java/1.3.11\r\nContent-Length: 0\r\nHost: localhost:13131\r\n\
              Connection: Keep-Alive\r\n\r\n",
        connections: Connections::Kept,
    },
    Binding {
        name: "dotnet",
        port: 1,
        get: "GET /locks/NAME HTTP/1.1\r\nAccept: application/json\r\n\
              User-Agent: Metaparticle Sync Client\r\nHost: localhost:13131\r\n\r\n",
        put: "PUT /locks/NAME HTTP/1.1\r\nAccept: application/json\r\n\
              User-Agent: Metaparticle Sync Client\r\nContent-Length: 0\r\nHost: localhost:13131\r\n\r\n",
        connections: Connections::Once,
    },
    Binding {
        name: "go",
        port: 0,
        get: "GET /locks/NAME HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: Go-http-client/1.1\r\n\
              Accept-Encoding: gzip\r\n\r\n",
        put: "PUT /locks/NAME HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: Go-http-client/1.1\r\n\
              Content-Length: 0\r\nAccept-Encoding: gzip\r\n\r\n",
        connections: Connections::Once,
    },
    Binding {
        name: "rust",
        port: 0,
        get: "GET /locks/NAME HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: requests-rs/0.0.30\r\n\r\n",
        put: "PUT /locks/NAME HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: requests-rs/0.0.30\r\n\
              Content-Length: 0\r\n\r\n",
        connections: Connections::Once,
    },
];

/// One client of one sidecar.
struct Client<'a> {
    binding: &'a Binding,
    lock: String,
    address: SocketAddr,
    kept: Option<TcpStream>,
}

impl<'a> Client<'a> {
    fn new(binding: &'a Binding, lock: &str, sidecar: &[SocketAddr]) -> Self {
        Self { binding, lock: lock.into(), address: sidecar[binding.port], kept: None }
    }

    /// GET: its status.
    fn get(&mut self) -> u16 {
        self.ask(self.binding.get).status
    }

    /// PUT: its status, and the owner that the answer shows.
    fn put(&mut self) -> (u16, String) {
        let reply = self.ask(self.binding.put);
        (reply.status, reply.body["spec"]["owner"].as_str().unwrap_or_default().into())
    }

    fn ask(&mut self, request: &str) -> Reply {
        let mut stream = self.kept.take().unwrap_or_else(|| common::connect(self.address));
        stream.write_all(request.replace("NAME", &self.lock).as_bytes()).unwrap();
        let reply = common::read_reply(&mut stream).expect("an answer");
        match self.binding.connections {
            Connections::Kept => self.kept = Some(stream),
            Connections::Closed => assert!(common::read_reply(&mut stream).is_none(), "the server closes"),
            Connections::Once => {}
        }
        assert_eq!(reply.closes(), self.binding.connections == Connections::Closed, "{}", self.binding.name);
        reply
    }
}

/// A sidecar of an owner, and its two ports.
fn sidecar(runtime: &Runtime, world: &World, owner: &str) -> (Vec<SocketAddr>, Sidecar<Engine>) {
    let _inside = runtime.enter();
    let loopback: [IpAddr; 1] = ["127.0.0.1".parse().unwrap()];
    let bound = Bound::bind(&loopback, &[0, 0]).unwrap();
    let addresses = bound.addresses().to_vec();
    let run_directories = vec![std::env::temp_dir()];
    let manner = Manner { limits: Limits::default(), hosts: Hosts::loopback(), run_directories, part: Part::default() };
    let identity = Identity { owner: owner.into(), namespace: "default".into() };
    (addresses, bound.serve(manner, identity, world.engine(owner)).unwrap())
}

#[test]
fn each_binding_acquires_beats_and_is_kept_out() {
    let runtime = Runtime::new().unwrap();
    let world = World::new();
    let ((a, _a), (b, _b)) = (sidecar(&runtime, &world, "host-a"), sidecar(&runtime, &world, "host-b"));
    let held = |owner: &str, status: u16| (status, owner.to_owned());
    for binding in &BINDINGS {
        let (mut holder, mut other) = (Client::new(binding, binding.name, &a), Client::new(binding, binding.name, &b));
        assert_eq!((holder.get(), holder.put()), (404, held("host-a", 200)), "{} acquires", binding.name);
        assert_eq!((other.get(), other.put()), (200, held("host-a", 409)), "{} is kept out", binding.name);
        assert_eq!((holder.get(), holder.put()), (200, held("host-a", 200)), "{} beats", binding.name);
    }
}

/// Every binding of one pod shares the sidecar's locks, whichever port it knows; those of the other pod are kept out.
#[test]
fn bindings_of_different_languages_share_and_exclude() {
    let runtime = Runtime::new().unwrap();
    let world = World::new();
    let ((a, _a), (b, _b)) = (sidecar(&runtime, &world, "host-a"), sidecar(&runtime, &world, "host-b"));
    for (index, binding) in BINDINGS.iter().enumerate() {
        let mut friend = Client::new(binding, "shared", &a);
        assert_eq!(friend.get(), if index == 0 { 404 } else { 200 }, "{}", binding.name);
        assert_eq!(friend.put(), (200, "host-a".into()), "{}", binding.name);
        assert_eq!(Client::new(binding, "shared", &b).put(), (409, "host-a".into()), "{}", binding.name);
    }
}

/// Go's binding neither reads bodies nor closes connections: each request leaks one until its time-out of 10 s.
#[test]
fn connections_that_the_go_binding_leaks_disturb_nobody() {
    let runtime = Runtime::new().unwrap();
    let world = World::new();
    let (a, _a) = sidecar(&runtime, &world, "host-a");
    let go = BINDINGS.iter().find(|binding| binding.name == "go").unwrap();
    let leaked: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = common::connect(a[go.port]);
            stream.write_all(go.put.replace("NAME", "leak").as_bytes()).unwrap();
            stream
        })
        .collect();
    assert_eq!(Client::new(go, "leak", &a).put(), (200, "host-a".into()));
    for mut stream in leaked {
        assert_eq!(common::read_reply(&mut stream).expect("an answer, unread so far").status, 200);
    }
}
