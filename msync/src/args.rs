//! The arguments of a service that say where its locks are, for programs that use clap; with the feature `clap`.
//!
//! The names are those of `msync` on the command line and of the sidecar; the rule is the one of the macros' default client.

use std::sync::Arc;

use jiff::SignedDuration;

use crate::{
    Client, ClientBuilder, Error, Timing,
    macros::default_client::{
        self,
        choice::{self, Choice, NoChoice},
    },
};

/// Where the locks of a program are, and whose they are: arguments to be flattened into its own, each with a variable of the
/// environment.
///
/// | argument | variable | |
/// |---|---|---|
/// | `--msync-store` | `MSYNC_STORE` | `kube`, `leases` or `memory`; in a pod `kube` without it, elsewhere it is needed |
/// | `--msync-namespace` | `MSYNC_NAMESPACE` | of the `Lock` objects or Leases; the kubeconfig's or the pod's own without it |
/// | `--msync-owner` | `MSYNC_OWNER` | the name of the holder, for people; the host name without it |
/// | `--msync-ttl` | `MSYNC_TTL` | such as `30s` or `1m30s`, from `1s` to `24h`; 15 seconds without it |
///
/// An argument goes before its variable; a variable that is empty counts as not set.
///
/// # Examples
/// ```
/// use clap::Parser;
///
/// #[derive(Parser)]
/// struct Options {
///     #[arg(long, default_value_t = 8080)]
///     port: u16,
///     #[command(flatten)]
///     locks: msync::Args,
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), msync::Error> {
/// let options = Options::parse_from(["service", "--msync-store=memory", "--msync-ttl=1m"]);
/// let client = options.locks.client().await?;
/// assert_eq!(client.timing().ttl().as_secs(), 60);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, clap::Args)]
// Clap would show what documents this type as the help of a program that says nothing of itself.
#[command(next_help_heading = "Locks", about = None, long_about = None)]
#[non_exhaustive]
pub struct Args {
    /// Where the locks are: `kube`, the cluster of the kubeconfig or of the pod, `leases`, the Leases there, or `memory`, this process [default: kube in a pod].
    #[arg(long = "msync-store", env = "MSYNC_STORE", value_name = "STORE", value_parser = store)]
    store: Option<String>,
    /// The namespace of the locks [default: that of the kubeconfig or the pod].
    #[arg(long = "msync-namespace", env = "MSYNC_NAMESPACE", value_name = "NAME")]
    namespace: Option<String>,
    /// The name under which they are held, for people [default: the host name].
    #[arg(long = "msync-owner", env = "MSYNC_OWNER", value_name = "NAME")]
    owner: Option<String>,
    /// How long after a crash others have them, such as 30s or 1m30s [default: 15s].
    #[arg(long = "msync-ttl", env = "MSYNC_TTL", value_name = "TIME", value_parser = ttl)]
    ttl: Option<Ttl>,
}

/// A ttl as it was given; none if that was nothing.
#[derive(Clone, Copy, Debug)]
struct Ttl(Option<Timing>);

#[derive(Debug, thiserror::Error)]
#[error(
    "outside of a pod the locks would be those of whatever cluster the kubeconfig points at: say --msync-store=kube \
     (or MSYNC_STORE=kube) if that is meant, or --msync-store=memory for a store inside this process"
)]
struct NobodyChose;

// === impl Args ===

impl Args {
    /// Makes the client that the arguments ask for. Nothing is sent to the cluster: an outage is met, and waited out, by what
    /// is done with the client, as is a loss, which is told to who holds, and a shutdown, which is the client's.
    ///
    /// # Errors
    /// [`Error::Store`] when no store was named and this is no pod, naming what to say; otherwise as
    /// [`Client::try_default`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn client(&self) -> Result<Client, Error> {
        default_client::of(self.choice(choice::is_in_pod())?, self.builder()).await
    }

    /// Begins a client with what the arguments say of everything but its store: namespace, owner and ttl.
    ///
    /// # Examples
    /// ```
    /// # let locks = msync::Args::default();
    /// let client = locks.builder().memory(&msync::MemoryStore::new()).build();
    /// ```
    pub fn builder(&self) -> ClientBuilder {
        let mut builder = Client::builder();
        if let Some(namespace) = given(self.namespace.as_ref()) {
            builder = builder.namespace(namespace);
        }
        if let Some(owner) = given(self.owner.as_ref()) {
            builder = builder.owner(owner);
        }
        if let Some(Ttl(Some(timing))) = self.ttl {
            builder = builder.timing(timing);
        }
        builder
    }

    fn choice(&self, in_pod: bool) -> Result<Choice, Error> {
        choice::choose(self.store.as_deref(), in_pod).map_err(|why| match why {
            NoChoice::Nobody => Error::Store { context: "no store".to_owned(), cause: Arc::new(NobodyChose) },
            NoChoice::Unknown(other) => Error::store(format!("--msync-store is {other:?}"), may_be()),
        })
    }
}

fn given(text: Option<&String>) -> Option<&String> {
    text.filter(|text| !text.is_empty())
}

fn store(text: &str) -> Result<String, String> {
    match choice::choose(Some(text), false) {
        Err(NoChoice::Unknown(_)) => Err(may_be()),
        Ok(_) | Err(NoChoice::Nobody) => Ok(text.to_owned()),
    }
}

fn may_be() -> String {
    format!("it may be {}", Choice::NAMES)
}

fn ttl(text: &str) -> Result<Ttl, String> {
    const HELP: &str = "write a number and a unit, such as 500ms, 30s, 5m or 1m30s";
    if text.is_empty() {
        return Ok(Ttl(None));
    }
    let parsed = text.parse::<SignedDuration>().ok().and_then(|parsed| parsed.try_into().ok());
    let timing = Timing::with_ttl(parsed.ok_or(HELP)?).map_err(|error| error.to_string())?;
    Ok(Ttl(Some(timing)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        locks: Args,
    }

    fn parsed(arguments: &[&str]) -> Result<Args, String> {
        let program = Program::try_parse_from(std::iter::once("program").chain(arguments.iter().copied()));
        program.map(|program| program.locks).map_err(|error| error.to_string())
    }

    #[test]
    fn each_argument_has_its_variable() {
        let command = <Program as clap::CommandFactory>::command();
        for name in ["store", "namespace", "owner", "ttl"] {
            let long = format!("msync-{name}");
            let argument = command.get_arguments().find(|argument| argument.get_long() == Some(&long)).expect(name);
            let variable = format!("MSYNC_{}", name.to_uppercase());
            assert_eq!(argument.get_env().and_then(|env| env.to_str()), Some(&*variable));
        }
    }

    /// Clap takes what documents a flattened type for the words of a program that has none.
    #[test]
    fn what_documents_them_is_not_the_help_of_a_program() {
        /// Bills.
        #[derive(Parser)]
        struct Told {
            #[command(flatten)]
            _locks: Args,
        }

        let command = <Program as clap::CommandFactory>::command();
        assert!(command.get_about().is_none() && command.get_long_about().is_none(), "{:?}", command.get_long_about());
        let about = <Told as clap::CommandFactory>::command().get_about().map(ToString::to_string);
        assert_eq!(about.as_deref(), Some("Bills"));
    }

    #[tokio::test]
    async fn what_is_said_is_what_the_client_has() {
        let said = ["--msync-store=memory", "--msync-owner=web-3", "--msync-ttl=1m30s", "--msync-namespace=shop"];
        let client = parsed(&said).unwrap().client().await.unwrap();
        assert_eq!((client.owner(), client.timing().ttl()), ("web-3", Duration::from_secs(90)));
        assert!(client.election("e").unwrap().try_campaign().await.unwrap().is_some());
    }

    #[test]
    fn only_a_pod_needs_no_store_and_elsewhere_the_error_says_what_to_do() {
        for nothing in [&[][..], &["--msync-store="]] {
            let args = parsed(nothing).unwrap();
            assert_eq!(args.choice(true).unwrap(), Choice::Kube);
            let error = args.choice(false).unwrap_err().to_string();
            assert!(["--msync-store=kube", "MSYNC_STORE=kube"].iter().all(|way| error.contains(way)), "{error}");
        }
        assert_eq!(parsed(&["--msync-store=kube"]).unwrap().choice(false).unwrap(), Choice::Kube);
    }

    #[test]
    fn what_is_wrong_is_refused_with_what_may_be_said() {
        for (wrong, says) in [
            ("--msync-store=redis", "`memory`, `kube` or `leases`"),
            ("--msync-ttl=soon", "such as 500ms"),
            ("--msync-ttl=30", "such as 500ms"),
            ("--msync-ttl=-5s", "such as 500ms"),
            ("--msync-ttl=5ms", "invalid timing"),
        ] {
            let error = parsed(&[wrong]).expect_err(wrong);
            assert!(error.contains(says), "{wrong}: {error}");
        }
        assert_eq!(
            parsed(&["--msync-ttl="]).unwrap().builder().memory(&crate::MemoryStore::new()).build().timing(),
            Timing::default()
        );
    }
}
