//! What is wrong with a configuration, in words that begin with it.
//!
//! kube tells each story from its own side ("failed to infer config: in-cluster: …"); who reads it wants to know which file,
//! program or variable to mend.

use std::{error::Error as StdError, io::ErrorKind, path::PathBuf, sync::Arc};

use kube::{
    client::AuthError,
    config::{InClusterError, KubeconfigError, LoadDataError},
};

use super::dial::{NoDial, is_of_environment, shown};
use crate::Error;

/// Says whether there is no kubeconfig, or one that names no cluster: then a pod's service account may be meant.
pub(super) fn is_nothing_there(error: &KubeconfigError) -> bool {
    match error {
        KubeconfigError::FindPath | KubeconfigError::CurrentContextNotSet => true,
        KubeconfigError::ReadConfig(error, _) => error.kind() == ErrorKind::NotFound,
        _ => false,
    }
}

/// Neither a kubeconfig nor a service account.
pub(super) fn no_cluster(error: KubeconfigError, in_cluster: InClusterError) -> Error {
    let in_pod = !matches!(in_cluster, InClusterError::ReadEnvironmentVariable(_));
    if in_pod {
        return store("this pod has no usable service account (is automountServiceAccountToken off?)", in_cluster);
    }
    match error {
        KubeconfigError::CurrentContextNotSet => store(format!("kubeconfig {} has no current context", files()), error),
        _ if std::env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty()) => kubeconfig(error),
        _ => store("no Kubernetes cluster is configured: neither a kubeconfig nor a service account was found", error),
    }
}

/// A kubeconfig that is there and not usable, or named and not there.
pub(super) fn kubeconfig(error: KubeconfigError) -> Error {
    match error {
        KubeconfigError::ReadConfig(error, path) => {
            store(format!("kubeconfig {} cannot be read", path.display()), error)
        }
        KubeconfigError::Parse(error) => {
            store(format!("kubeconfig {} is not valid YAML of a kubeconfig", files()), *error)
        }
        KubeconfigError::LoadCertificateAuthority(error) => data("the cluster's certificate authority", error),
        KubeconfigError::LoadClientCertificate(error) => data("the client certificate", error),
        KubeconfigError::LoadClientKey(error) => data("the client key", error),
        KubeconfigError::ParseCertificates(error) => {
            store("the cluster's certificate authority is not valid PEM", error)
        }
        KubeconfigError::ParseProxyUrl(error) => {
            store("the URL of the proxy (proxy-url or HTTPS_PROXY) is not valid", error)
        }
        error => store(format!("kubeconfig {} is not usable", files()), error),
    }
}

/// A certificate or key, of a file or in the kubeconfig itself.
fn data(what: &str, error: LoadDataError) -> Error {
    match error {
        LoadDataError::ReadFile(error, path) => store(format!("{what} {} cannot be read", path.display()), error),
        LoadDataError::DecodeBase64(error) => store(format!("{what} is not valid base64"), error),
        error @ LoadDataError::NoBase64DataOrFile => store(format!("{what} is missing"), error),
    }
}

/// A configuration of which no client can be made.
pub(super) fn client(error: kube::Error, config: &kube::Config) -> Error {
    match error {
        kube::Error::Auth(error) => auth(error, config),
        kube::Error::InferKubeconfig(error) => kubeconfig(error),
        #[cfg(feature = "__rustls")]
        kube::Error::RustlsTls(error) => tls(error),
        error => store("no client can be made of the cluster's configuration", error),
    }
}

/// No way to the server.
pub(super) fn dial(error: NoDial, config: &kube::Config) -> Error {
    match error {
        NoDial::Proxy { proxy, feature } => {
            let (source, way_out) = if is_of_environment(&proxy) {
                ("HTTPS_PROXY", ", and NO_PROXY does not name the server")
            } else {
                ("proxy-url of the kubeconfig", "")
            };
            Error::store(
                format!("{source} asks for the proxy {}", shown(&proxy)),
                format!("msync was built without its feature `{feature}`{way_out}"),
            )
        }
        NoDial::UnknownProxy { proxy } => Error::store(
            format!("the proxy {} is of no known kind", shown(&proxy)),
            "known are http, https, socks5 and socks5h",
        ),
        #[cfg(not(any(feature = "__rustls", feature = "openssl-tls")))]
        NoDial::NoTls => Error::store(
            format!("{} needs TLS", shown(&config.cluster_url)),
            "msync was built without its features `rustls-tls`, `aws-lc-rs` and `openssl-tls`",
        ),
        #[cfg(any(feature = "__rustls", feature = "openssl-tls"))]
        NoDial::Tls(error) => client(error, config),
    }
}

#[cfg(feature = "__rustls")]
fn tls(error: kube::client::RustlsTlsError) -> Error {
    use kube::client::RustlsTlsError;
    match error {
        RustlsTlsError::AddRootCertificate(_) => store("the cluster's certificate authority is not usable", error),
        RustlsTlsError::InvalidServerName(error) => store("tls-server-name of the kubeconfig is not valid", error),
        error => store("the client certificate or its key is not usable", error),
    }
}

/// Credentials that cannot be had.
fn auth(error: AuthError, config: &kube::Config) -> Error {
    let plugin = || {
        let command = config.auth_info.exec.as_ref().and_then(|exec| exec.command.as_deref());
        format!("exec plugin `{}` of the kubeconfig", command.unwrap_or_default())
    };
    match error {
        AuthError::AuthExecStart(error) => store(format!("{} cannot be started", plugin()), error),
        AuthError::AuthExecRun { out, .. } => {
            let said = String::from_utf8_lossy(&out.stderr).trim().to_owned();
            let said = if said.is_empty() { "what it said went to stderr".to_owned() } else { said };
            Error::store(format!("{} failed with {}", plugin(), out.status), said)
        }
        AuthError::AuthExecParse(error) => store(format!("{} answers no ExecCredential", plugin()), *error),
        AuthError::ExecPluginFailed => store(format!("{} answers without a status", plugin()), error),
        AuthError::ReadTokenFile(error, path) => store(format!("token file {} cannot be read", path.display()), error),
        error => store("no credentials can be had as the kubeconfig says", error),
    }
}

/// The files that a kubeconfig is read from.
fn files() -> String {
    let named = std::env::var("KUBECONFIG").ok().filter(|value| !value.is_empty());
    let default = || std::env::home_dir().unwrap_or_default().join(PathBuf::from_iter([".kube", "config"]));
    named.unwrap_or_else(|| default().display().to_string())
}

fn store(context: impl Into<String>, source: impl StdError + Send + Sync + 'static) -> Error {
    Error::Store { context: context.into(), cause: Arc::new(source) }
}
