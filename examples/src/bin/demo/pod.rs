//! A pod: a client on a runtime and a thread of its own, so that it can be killed or frozen as a whole.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures::future::BoxFuture;
use msync::Client;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

/// One member of the service.
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) client: Client,
    runtime: Handle,
    end: mpsc::UnboundedSender<()>,
}

/// How a pod makes its client; on its own runtime, since a kube client belongs to one.
pub(crate) type Connect = std::sync::Arc<dyn Fn(String) -> BoxFuture<'static, Result<Client>> + Send + Sync>;

// === impl Pod ===

impl Pod {
    /// Starts a pod and waits until its client is there.
    pub(crate) async fn start(name: &str, connect: &Connect) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, mut ended) = mpsc::unbounded_channel();
        let (ready, client) = oneshot::channel();
        let connecting = connect(name.to_owned());
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(async {
                let _ = ready.send(connecting.await);
                ended.recv().await
            });
            // Like SIGKILL: nothing of what runs here is asked, and no release is sent.
            runtime.shutdown_background();
        })?;
        let client = client.await.context("the pod's thread is gone")??;
        Ok(Self { name: name.to_owned(), client, runtime: handle, end })
    }

    /// Runs a task on the pod and waits for its result; an error when the pod is killed before.
    pub(crate) async fn run<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> Result<T> {
        self.runtime.spawn(task).await.context("the pod was killed")
    }

    /// Begins a task on the pod, to end by itself.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.spawn(task)
    }

    /// Kills the pod.
    pub(crate) fn kill(&self) {
        let _ = self.end.send(());
    }

    /// Freezes the pod as a whole for some time, as SIGSTOP or a long pause of the machine does.
    pub(crate) async fn freeze(&self, duration: Duration) -> Result<()> {
        let frozen = async move {
            let start = Instant::now();
            thread::sleep(duration.saturating_sub(start.elapsed()));
        };
        self.run(frozen).await
    }
}
