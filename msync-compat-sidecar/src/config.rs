//! What the sidecar is told at its start: flags, each with its `MSYNC_*` variable, and the sane default.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::api::Name;
use crate::front::Hosts;
use crate::session::Part;

/// Cluster-wide locks over HTTP on localhost, for any language.
///
/// Speaks the Metaparticle/Sync protocol: PUT /locks/NAME takes a lock or keeps it, and answers 200 (yours) or 409
/// (somebody else's). Repeat it every 10 seconds; after 30 seconds without it the lock is given to others. When the
/// sidecar listens it prints one line of JSON on standard output, with the ports it took. SIGTERM makes it refuse new
/// locks and end once its clients have let go of theirs; a second SIGTERM ends it at once.
#[derive(Debug, Clone, Parser)]
#[command(name = "msync-sidecar", version, verbatim_doc_comment)]
pub struct Config {
    /// Ports to listen on, 0 for a free one. Old clients use 8080 (Go, Rust) or 13131 (all others).
    #[arg(long, env = "MSYNC_PORTS", value_delimiter = ',', default_values_t = [8080, 13131], value_name = "PORT,PORT")]
    pub ports: Vec<u16>,

    /// Addresses to listen on. Whoever reaches them can take and block any lock, so keep to loopback.
    #[arg(long, env = "MSYNC_BIND", value_delimiter = ',', default_values = ["127.0.0.1", "::1"], value_name = "IP,IP")]
    pub bind: Vec<IpAddr>,

    /// Where the locks are: in the cluster, as Locks or as Leases, or in this process for local development.
    #[arg(long, env = "MSYNC_STORE", value_enum, default_value_t = Store::Kube)]
    pub store: Store,

    /// Namespace of the locks. Default: that of the pod or the kubeconfig.
    #[arg(long, env = "MSYNC_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,

    /// Name under which this sidecar holds locks. Default: the host name.
    #[arg(long, env = "MSYNC_OWNER", value_name = "NAME")]
    pub owner: Option<String>,

    /// Uid of the pod (downward API, metadata.uid). With it a restarted sidecar gets its locks back at once.
    #[arg(long, env = "POD_UID", value_name = "UID")]
    pub pod_uid: Option<String>,

    /// Host names to serve besides loopback ones. Requests with another Host are refused (DNS rebinding).
    #[arg(long, env = "MSYNC_ALLOW_HOSTS", value_delimiter = ',', value_name = "NAME,NAME")]
    pub allow_hosts: Vec<String>,

    /// Serve requests whatever their Host and Origin.
    #[arg(long, env = "MSYNC_ALLOW_ANY_HOST")]
    pub allow_any_host: bool,

    /// Elections in which this pod takes part, for GET /election/NAME. It campaigns while somebody asks.
    #[arg(long, env = "MSYNC_ELECTIONS", value_delimiter = ',', value_name = "NAME,NAME")]
    pub elections: Vec<String>,

    /// How long the sidecar goes on after SIGTERM, at most, while clients hold locks. What they still hold then is given to
    /// others half a minute later.
    #[arg(long, env = "MSYNC_DRAIN_SECONDS", default_value_t = 60, value_name = "SECONDS")]
    pub drain_seconds: u64,

    /// Locks held at once, at most, for all clients together; more are refused with 503. Each costs the API server a write
    /// in 5 seconds, and so many as it cannot write are lost, those of others as well.
    #[arg(long, env = "MSYNC_MAX_LOCKS", default_value_t = 1_000, value_name = "NUMBER")]
    pub max_locks: usize,

    /// Directory in which private sockets are made; on Linux nothing stays in it. Default: the first of the usual places
    /// that is writable.
    #[arg(long, env = "MSYNC_RUN_DIR", value_name = "DIR")]
    pub run_dir: Option<PathBuf>,

    /// What to log on standard error, as in `info` or `debug,msync=trace`.
    #[arg(long, env = "MSYNC_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,

    /// Ask the sidecar that runs with the same ports, and end: 0 when it is well. For exec probes, since a kubelet's HTTP
    /// probes do not come to loopback.
    #[arg(long, value_enum, value_name = "WHAT")]
    pub check: Option<Probe>,
}

/// Where the locks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Store {
    /// In this process, shared with nobody: for developing clients without a cluster.
    Memory,
    /// In the cluster of the kubeconfig or of the pod.
    Kube,
    /// There, in Leases, which need no resource to be installed. All who share a lock must use the same.
    Leases,
}

/// What `--check` asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Probe {
    /// Whether the sidecar serves requests.
    Healthz,
    /// Whether locks can be taken.
    Readyz,
}

impl Config {
    /// Whom to serve.
    pub fn hosts(&self) -> Hosts {
        if self.allow_any_host { Hosts::any() } else { Hosts::with(self.allow_hosts.clone()) }
    }

    /// What to take part in.
    ///
    /// # Errors
    /// A name of an election that is none.
    pub fn part(&self) -> Result<Part, String> {
        let named = self.elections.iter().filter(|name| !name.is_empty());
        let elections = named.map(|name| Name::new(name).map_err(|why| format!("--elections {name:?}: {why}")));
        Ok(Part { elections: elections.collect::<Result<_, _>>()?, most: self.max_locks })
    }

    /// The owner's name: as told, or the host's.
    pub fn owner(&self) -> String {
        let host = || rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
        self.owner.clone().unwrap_or_else(host)
    }

    /// Where private sockets may be made, the best place first.
    ///
    /// `/dev/shm` is writable even in a container with a read-only root.
    pub fn run_directories(&self) -> Vec<PathBuf> {
        match &self.run_dir {
            Some(told) => vec![told.clone()],
            None => std::env::var_os("XDG_RUNTIME_DIR")
                .map(PathBuf::from)
                .into_iter()
                .chain(["/run".into(), std::env::temp_dir(), "/dev/shm".into()])
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parsed(arguments: &[&str]) -> Config {
        Config::try_parse_from([&["msync-sidecar"], arguments].concat()).unwrap()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Config::command().debug_assert();
    }

    #[test]
    fn the_defaults_serve_every_old_client_on_loopback() {
        let config = parsed(&[]);
        assert_eq!(config.ports, [8080, 13131]);
        assert!(config.bind.iter().all(IpAddr::is_loopback));
        assert_eq!(config.store, Store::Kube);
    }

    #[test]
    fn each_port_can_be_chosen() {
        assert_eq!(parsed(&["--ports", "0,0"]).ports, [0, 0]);
        assert_eq!(parsed(&["--ports", "1,2"]).ports, [1, 2]);
        assert_eq!(parsed(&["--ports", "1", "--ports", "2"]).ports, [1, 2]);
    }
}
