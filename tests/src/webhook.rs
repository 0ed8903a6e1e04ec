//! An admission webhook that allows, denies or takes its time: what policies do to the writes of a lock.
//!
//! It serves one namespace, so that tests on a shared server do not meet each other's.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig, crypto,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

use crate::{
    cluster::{
        LIMIT,
        leases::{probe, resource},
    },
    eventually,
};

/// What the webhook says of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may pass.
    Allow,
    /// It may pass, after a while.
    AllowLate(Duration),
    /// It may not: with this code and these words.
    Deny(u16, String),
    /// There is no answer: the connection is closed.
    Down,
}

/// A webhook and its configuration; dropping it stops the server, and with it the namespace's writes.
pub struct Webhook {
    verdict: Arc<Mutex<Verdict>>,
    server: JoinHandle<()>,
    configurations: Api<ValidatingWebhookConfiguration>,
    name: String,
}

// === impl Webhook ===

impl Webhook {
    /// Puts a webhook before the given operations (`CREATE`, `UPDATE`, `DELETE`) on the locks of a namespace, and returns
    /// when the API server asks it. It allows everything.
    ///
    /// # Errors
    ///
    /// When no port can be had, or the API server does not ask.
    ///
    /// # Cancel safety
    ///
    /// A configuration may be left behind, which denies everything in that namespace.
    pub async fn before(client: &Client, namespace: &str, operations: &[&str]) -> Result<Self> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()])?.self_signed(&key)?;
        let chain = vec![certificate.der().clone()];
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let tls = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, private)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let verdict = Arc::new(Mutex::new(Verdict::Deny(418, "not ready".to_owned())));
        let server = tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(tls)), Arc::clone(&verdict)));
        let name = format!("{namespace}.msync.test");
        let configuration = configuration(&name, namespace, address, &certificate.pem(), operations)?;
        let configurations: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
        configurations.create(&PostParams::default(), &configuration).await?;
        let webhook = Self { verdict, server, configurations, name };
        webhook.until_asked(client, namespace).await?;
        webhook.says(Verdict::Allow);
        Ok(webhook)
    }

    /// Sets what it says from now on.
    pub fn says(&self, verdict: Verdict) {
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = verdict;
    }

    /// Takes the webhook away.
    ///
    /// # Errors
    ///
    /// When the API server refuses.
    ///
    /// # Cancel safety
    ///
    /// As of [`Webhook::before`].
    pub async fn remove(self) -> Result<()> {
        self.configurations.delete(&self.name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// The API server reads its configurations a moment later.
    async fn until_asked(&self, client: &Client, namespace: &str) -> Result<()> {
        eventually("the API server asks the webhook", LIMIT, async || {
            probe(client, namespace).await.is_err_and(|error| error.to_string().contains("not ready"))
        })
        .await
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn configuration(
    name: &str,
    namespace: &str,
    address: SocketAddr,
    pem: &str,
    operations: &[&str],
) -> Result<ValidatingWebhookConfiguration> {
    let ca = k8s_openapi::ByteString(pem.as_bytes().to_vec());
    let (group, plural) = resource();
    let operations: Vec<_> = ["CREATE"].iter().chain(operations.iter().filter(|name| **name != "CREATE")).collect();
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name},
        "webhooks": [{
            "name": name,
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "timeoutSeconds": 30,
            "clientConfig": {"url": format!("https://{address}/"), "caBundle": ca},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "rules": [{"apiGroups": [group], "apiVersions": ["*"], "resources": [plural], "operations": operations}],
        }],
    }))?)
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, verdict: Arc<Mutex<Verdict>>) {
    while let Ok((connection, _)) = listener.accept().await {
        let (tls, verdict) = (tls.clone(), Arc::clone(&verdict));
        tokio::spawn(async move {
            // A connection that breaks is the API server's to report.
            let _ = converse(connection, &tls, &verdict).await;
        });
    }
}

/// Answers request after request of one connection.
async fn converse(connection: TcpStream, tls: &TlsAcceptor, verdict: &Mutex<Verdict>) -> Result<()> {
    let mut stream = tls.accept(connection).await?;
    while let Some(review) = read(&mut stream).await? {
        let said = verdict.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut response = json!({"uid": review["request"]["uid"], "allowed": true});
        match said {
            Verdict::Allow => {}
            Verdict::AllowLate(by) => tokio::time::sleep(by).await,
            Verdict::Deny(code, message) => {
                response["allowed"] = json!(false);
                response["status"] = json!({"code": code, "message": message});
            }
            Verdict::Down => return Ok(()),
        }
        let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
        write(&mut stream, &answer).await?;
    }
    Ok(())
}

/// Reads the body of one request; `None` at the end of the connection.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Value>> {
    let mut seen = Vec::new();
    let head = loop {
        if let Some(end) = seen.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut seen).await? == 0 {
            return Ok(None);
        }
    };
    let length = |line: &str| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok();
    let text = std::str::from_utf8(&seen[..head])?;
    let length = text.lines().find_map(length).context("the API server names the length")?;
    while seen.len() < head + length {
        if stream.read_buf(&mut seen).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(serde_json::from_slice(&seen[head..head + length])?))
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), answer: &Value) -> Result<()> {
    let body = answer.to_string();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.flush().await?;
    Ok(())
}
