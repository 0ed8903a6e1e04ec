//! The objects that locks stand in, the `Lock` resource or Leases, for whoever shows them to people: a Lease is shown as if it
//! were a `Lock`.

use futures::{StreamExt, stream::BoxStream};
use kube::{
    Api, Client, Error,
    api::{ListParams, ObjectList, WatchEvent, WatchParams},
};

use super::lease::Lease;
use crate::{record::leased::Leased, store::kube::crd::Lock};

/// What a watch shows.
pub type Events = BoxStream<'static, Result<WatchEvent<Lock>, Error>>;

/// The objects of a namespace, or of all.
#[derive(Clone, Debug)]
pub enum Objects {
    /// The custom resource.
    Locks(Api<Lock>),
    /// What every cluster has.
    Leases(Api<Lease>),
}

// === impl Objects ===

impl Objects {
    /// Those of a namespace, or of the cluster.
    pub fn of(client: Client, namespace: Option<&str>, leases: bool) -> Self {
        match (leases, namespace) {
            (false, None) => Self::Locks(Api::all(client)),
            (false, Some(namespace)) => Self::Locks(Api::namespaced(client, namespace)),
            (true, None) => Self::Leases(Api::all(client)),
            (true, Some(namespace)) => Self::Leases(Api::namespaced(client, namespace)),
        }
    }

    /// Lists one page. Leases that msync has never written are left out.
    ///
    /// # Errors
    /// As [`Api::list`].
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn list(&self, how: &ListParams) -> Result<ObjectList<Lock>, Error> {
        match self {
            Self::Locks(locks) => locks.list(how).await,
            Self::Leases(leases) => {
                let ObjectList { types, metadata, items } = leases.list(how).await?;
                Ok(ObjectList { types, metadata, items: items.iter().filter_map(shown).collect() })
            }
        }
    }

    /// Reads one. A Lease that others have made is found as well: who asks for it by name means it.
    ///
    /// # Errors
    /// As [`Api::get_opt`].
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn find(&self, name: &str) -> Result<Option<Lock>, Error> {
        match self {
            Self::Locks(locks) => locks.get_opt(name).await,
            Self::Leases(leases) => Ok(leases.get_opt(name).await?.and_then(|lease| lease.as_lock().ok())),
        }
    }

    /// Watches from a version on.
    ///
    /// # Errors
    /// As [`Api::watch`].
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn watch(&self, how: &WatchParams, version: &str) -> Result<Events, Error> {
        match self {
            Self::Locks(locks) => Ok(locks.watch(how, version).await?.boxed()),
            Self::Leases(leases) => {
                let events = leases.watch(how, version).await?;
                Ok(events.filter_map(async |event| event.map(translated).transpose()).boxed())
            }
        }
    }
}

fn shown(lease: &Lease) -> Option<Lock> {
    lease.leased().ok().filter(Leased::is_marked)?;
    lease.as_lock().ok()
}

fn translated(event: WatchEvent<Lease>) -> Option<WatchEvent<Lock>> {
    Some(match event {
        WatchEvent::Added(lease) => WatchEvent::Added(shown(&lease)?),
        WatchEvent::Modified(lease) => WatchEvent::Modified(shown(&lease)?),
        WatchEvent::Deleted(lease) => WatchEvent::Deleted(shown(&lease)?),
        WatchEvent::Bookmark(mark) => WatchEvent::Bookmark(mark),
        WatchEvent::Error(status) => WatchEvent::Error(status),
    })
}
