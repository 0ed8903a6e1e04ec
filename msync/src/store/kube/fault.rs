//! What an error of the API server means to the protocol, and what a user is told about it.
//!
//! The codes alone do not say: 422 is a condition that failed, a full queue, a schema or a policy; 404 an object, a
//! namespace or a resource that is missing; and a webhook denies with whatever code it likes. The rules were taken from a real API server (1.36); the contract suite holds them.

use std::{sync::Arc, time::Duration};

use kube::core::response::{Status, StatusDetails};

use crate::{
    error::told,
    record::Refused,
    store::{Fatal, Fault},
};

/// How the API server refuses a field selector that the resource does not allow.
const UNSELECTABLE: &str = "field label not supported";

/// What was asked of the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Create,
    Patch,
    Delete,
    List,
    Watch,
}

/// What records are stored in, as errors name it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resource {
    pub(super) group: &'static str,
    pub(super) plural: &'static str,
    /// The manifest with the rights, wherever it is found.
    pub(super) manifest: &'static str,
}

/// One call, as far as its errors must know it.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) verb: Verb,
    pub(super) namespace: Arc<str>,
    pub(super) resource: &'static Resource,
}

/// The custom resource.
pub(super) const LOCKS: Resource = Resource {
    group: "metaparticle.io",
    plural: "locks",
    manifest: "examples/manifests/rbac.yaml or msync::manifests::RBAC",
};

/// What every cluster has.
pub(super) const LEASES: Resource =
    Resource { group: "coordination.k8s.io", plural: "leases", manifest: "examples/manifests/rbac-leases.yaml" };

// === impl Verb ===

impl Verb {
    /// Returns its name in a rule of RBAC.
    fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Create => "create",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Watch => "watch",
        }
    }
}

// === impl Call ===

impl Call {
    /// Says what the failure of this call means.
    pub(super) fn fault(&self, error: kube::Error) -> Fault {
        match error {
            kube::Error::Api(status) => self.refusal(&status),
            // The request could not even be built: it would be no better the next time.
            kube::Error::BuildRequest(_) | kube::Error::HttpError(_) => Fault::Fatal(Fatal::Other(Arc::new(error))),
            kube::Error::Service(why) if has_ended(&*why) => {
                Fault::Fatal(Fatal::Other(told(format!("{ENDED} ({why})"))))
            }
            _ => Fault::Unknown(met(error)),
        }
    }

    /// Says what an answer of the API server means.
    pub(super) fn refusal(&self, status: &Status) -> Fault {
        if is_denied_by_admission(status) {
            return self.denied(status);
        }
        match (status.code, self.verb) {
            (400, Verb::List | Verb::Watch) if status.message.contains(UNSELECTABLE) => {
                let field = if status.message.contains("spec.next") { "spec.next" } else { "spec.engine" };
                Fault::Fatal(super::crd::outdated(&format!("it does not select by {field}")))
            }
            // Passes when a token is renewed, and otherwise not.
            (401, _) => Fault::Fatal(Fatal::Forbidden(self.unauthorized(status))),
            (403, _) => Fault::Fatal(self.forbidden(status)),
            (404, _) => self.not_found(status),
            (409, Verb::Create) if status.is_already_exists() => Fault::Refused(Refused::Exists),
            (409, Verb::Delete) => Fault::Refused(Refused::Mismatch),
            // The API server repeats a patch that meets another write, and the booking of a quota; here it gave up.
            (409, _) => Fault::Busy(None),
            (422, _) => self.invalid(status),
            (429, _) => Fault::Busy(retry_after(status)),
            // 408, 410 and 5xx say nothing about what was applied.
            (408 | 410, _) => Fault::Unknown(told(self.describe(status))),
            (400..=499, _) => Fault::Fatal(Fatal::Other(told(self.describe(status)))),
            _ => Fault::Unknown(told(self.describe(status))),
        }
    }

    fn not_found(&self, status: &Status) -> Fault {
        let Some(details) = &status.details else { return Fault::Fatal(self.missing(status)) };
        match details.kind.as_str() {
            kind if kind == self.resource.plural => Fault::Refused(Refused::Absent),
            "namespaces" => {
                let why = format!("namespace {} does not exist: create it, or choose another", self.namespace);
                Fault::Fatal(Fatal::Other(told(why)))
            }
            _ => Fault::Fatal(Fatal::Other(told(self.describe(status)))),
        }
    }

    /// A webhook may answer with any code at all, and a policy with some, so that its 404 is no missing lock and its 409 no conflict.
    fn denied(&self, status: &Status) -> Fault {
        match status.code {
            429 => Fault::Busy(retry_after(status)),
            500.. => Fault::Unknown(told(self.describe(status))),
            _ => Fault::Fatal(Fatal::Other(told(self.describe(status)))),
        }
    }

    fn invalid(&self, status: &Status) -> Fault {
        let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
        if self.verb == Verb::Patch && is_failed_condition(status) {
            return Fault::Refused(Refused::Mismatch);
        }
        if causes.iter().any(|cause| cause.reason == "FieldValueTooMany") {
            return Fault::Refused(Refused::Full);
        }
        Fault::Fatal(Fatal::Other(told(self.describe(status))))
    }

    fn forbidden(&self, status: &Status) -> Fatal {
        let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
        if causes.iter().any(|cause| cause.reason == "NamespaceTerminating") {
            return Fatal::Other(told(format!("namespace {} is being deleted", self.namespace)));
        }
        let (verb, namespace, Resource { group, plural, manifest }) =
            (self.verb.name(), &self.namespace, self.resource);
        if !status.message.contains(&format!("cannot {verb} resource")) {
            // Not the authorizer but an admission plugin, such as a quota: no rule would help.
            return Fatal::Forbidden(self.describe(status));
        }
        Fatal::Forbidden(format!(
            "not allowed to {verb} {plural}.{group} in namespace {namespace}; missing is a Role with the rule \
             {{apiGroups: [{group}], resources: [{plural}], verbs: [create, delete, get, list, patch, watch]}} and \
             its RoleBinding, as in {manifest} (the API server says: {})",
            status.message
        ))
    }

    /// The API server does not know the resource. Leases are part of Kubernetes itself: there it is another server.
    fn missing(&self, status: &Status) -> Fatal {
        let message = &status.message;
        if *self.resource == LOCKS {
            return Fatal::CrdMissing(format!(
                "the resource locks.metaparticle.io/v1 is not installed: apply examples/manifests/crd.yaml or \
                 msync::manifests::CRD, or call Client::install_crd with the rights to do so (the API server says: {message})"
            ));
        }
        let Resource { group, plural, .. } = self.resource;
        Fatal::Other(told(format!(
            "the server does not serve {plural}.{group}/v1, which every cluster has: is it the API server of Kubernetes? \
             (it says: {message})"
        )))
    }

    fn unauthorized(&self, status: &Status) -> String {
        let (verb, namespace, plural) = (self.verb.name(), &self.namespace, self.resource.plural);
        format!(
            "the API server does not accept the credentials to {verb} {plural} in namespace {namespace}: is the token or \
             certificate of the kubeconfig or of the pod's service account still valid? (it says: {})",
            status.message
        )
    }

    fn describe(&self, status: &Status) -> String {
        let (verb, namespace, plural) = (self.verb.name(), &self.namespace, self.resource.plural);
        format!(
            "the API server answers {} to {verb} {plural} in namespace {namespace}: {}",
            status.code, status.message
        )
    }
}

/// What was met on the way to the server, without kube's word for it, which says nothing.
fn met(error: kube::Error) -> Arc<dyn std::error::Error + Send + Sync> {
    match error {
        kube::Error::Service(why) => Arc::from(why),
        other => Arc::new(other),
    }
}

/// Says whether a patch was refused for a `test` that failed or a path that is missing. Such a status is about nothing: it
/// names neither object nor resource and has no causes. What the schema or a policy refuses names the object.
pub(crate) fn is_failed_condition(status: &Status) -> bool {
    let about_nothing = |details: &StatusDetails| {
        details.name.is_empty() && details.kind.is_empty() && details.group.is_empty() && details.causes.is_empty()
    };
    status.reason == "Invalid" && status.details.as_ref().is_some_and(about_nothing)
}

/// Says whether admission has spoken, a webhook or a policy: the API server puts that before whatever it says, and before a
/// policy the name of the object.
fn is_denied_by_admission(status: &Status) -> bool {
    let policies = [": ValidatingAdmissionPolicy '", ": MutatingAdmissionPolicy '"];
    status.message.starts_with("admission webhook \"") || policies.iter().any(|by| status.message.contains(by))
}

const ENDED: &str = "the kube client's worker has ended with the tokio runtime that the client was made on: make it on a \
                     runtime that lasts, or give msync the configuration, by ClientBuilder::config or Client::try_default";

/// A kube client's requests go through a task, tower's `Buffer`. Nothing that is sent to one that has ended is ever applied,
/// and no other is started. kube does not export the type of that error.
fn has_ended(error: &(dyn std::error::Error + Send + Sync)) -> bool {
    error.to_string().contains("buffer's worker closed")
}

fn retry_after(status: &Status) -> Option<Duration> {
    let seconds = status.details.as_ref()?.retry_after_seconds;
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests;
