//! The checks that ask the API server: is it there, does it know locks, what is allowed, do watches work.

use std::time::Duration;

use futures::{StreamExt, future::join_all};
use k8s_openapi::{
    api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::{
        CustomResourceDefinition, CustomResourceDefinitionVersion,
    },
};
use kube::{Api, api::PostParams};
use msync::{
    clock::{BootClock, Clock},
    unstable::crd::definition,
};

use super::Finding;
use crate::{connect::Connection, look};

/// What the life of a lock needs.
const VERBS: [&str; 6] = ["create", "delete", "get", "list", "patch", "watch"];
/// The first version whose selectable fields are on without asking.
const OLDEST: u32 = 32;
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// A hand-over waits for one event.
const SLOW: Duration = Duration::from_millis(500);

async fn in_time<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = BootClock.sleep_until(BootClock.now() + PATIENCE) => None,
    }
}

pub(super) async fn api(connection: &Connection) -> Finding {
    const CHECK: &str = "API server";
    let advice = "check KUBECONFIG, --context and the network; inside a pod, its service account";
    let begun = BootClock.now();
    match in_time(connection.client.apiserver_version()).await {
        None => Finding::bad(CHECK, format!("{}: no answer within {PATIENCE:?}", connection.server()), advice),
        Some(Err(error)) => Finding::bad(CHECK, format!("{}: {}", connection.server(), look::told(&error)), advice),
        Some(Ok(version)) => {
            let took = BootClock.now().since(begun).as_millis();
            let found = format!("Kubernetes {}, answers in {took} ms", version.git_version);
            let minor = version.minor.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(OLDEST);
            if version.major == "1" && minor < OLDEST {
                return Finding::bad(CHECK, found, format!("upgrade to 1.{OLDEST} or newer: msync selects by fields"));
            }
            Finding::good(CHECK, found)
        }
    }
}

pub(super) async fn resource(connection: &Connection) -> Finding {
    const CHECK: &str = "Lock resource";
    if connection.leases {
        return Finding::good("Leases", "part of every cluster; nothing is to be installed");
    }
    let definitions: Api<CustomResourceDefinition> = Api::all(connection.client.clone());
    match in_time(definitions.get_opt("locks.metaparticle.io")).await {
        Some(Ok(Some(found))) => compared(&found),
        Some(Ok(None)) => Finding::bad(CHECK, "not installed", "run `msync install`, once per cluster"),
        // Who may use locks need not be allowed to read definitions.
        Some(Err(kube::Error::Api(status))) if status.code == 403 => by_use(connection).await,
        Some(Err(error)) => Finding::doubtful(CHECK, look::told(&error), "run it again"),
        None => Finding::doubtful(CHECK, format!("no answer within {PATIENCE:?}"), "run it again"),
    }
}

async fn by_use(connection: &Connection) -> Finding {
    const CHECK: &str = "Lock resource";
    let unseen = "installed; this user may not read its definition";
    let administrator = "run `msync doctor` as an administrator";
    match look::read_all(&look::locks(connection, false)).await {
        Ok(_) => Finding::good(CHECK, unseen),
        Err(failure) if failure.is_forbidden() => {
            Finding::doubtful(CHECK, "this user may see neither its definition nor locks", administrator)
        }
        Err(failure) => Finding::doubtful(CHECK, failure.to_string(), administrator),
    }
}

/// Compares with the definition of this version of msync.
fn compared(found: &CustomResourceDefinition) -> Finding {
    const CHECK: &str = "Lock resource";
    let ours = definition();
    let lacking = |ours: &[String], theirs: &[String]| -> Vec<String> {
        ours.iter().filter(|field| !theirs.contains(field)).cloned().collect()
    };
    let theirs = version(found);
    let Some(ours) = version(&ours) else { return Finding::bad(CHECK, "no version v1", "run `msync install`") };
    let Some(theirs) = theirs else {
        return Finding::bad(CHECK, "it has no version v1", "run `msync install`");
    };
    let missing = [lacking(&fields(ours), &fields(theirs)), lacking(&selectable(ours), &selectable(theirs))].concat();
    if missing.is_empty() {
        return Finding::good(CHECK, format!("v1, {} fields", fields(theirs).len()));
    }
    let advice = "run `msync install`: it updates the definition and keeps all locks";
    Finding::bad(CHECK, format!("made for another version; lacks {}", missing.join(", ")), advice)
}

fn version(of: &CustomResourceDefinition) -> Option<&CustomResourceDefinitionVersion> {
    of.spec.versions.iter().find(|version| version.name == "v1" && version.served)
}

fn fields(of: &CustomResourceDefinitionVersion) -> Vec<String> {
    let root = of.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
    let spec = root.and_then(|root| root.properties.as_ref()?.get("spec")?.properties.as_ref());
    spec.into_iter().flat_map(|fields| fields.keys()).map(|field| format!(".spec.{field}")).collect()
}

fn selectable(of: &CustomResourceDefinitionVersion) -> Vec<String> {
    let fields = of.selectable_fields.iter().flatten();
    fields.map(|field| format!("selectable field {}", field.json_path)).collect()
}

pub(super) async fn rights(connection: &Connection) -> Vec<Finding> {
    let asked = VERBS.map(|verb| may(connection, verb));
    join_all(asked).await
}

async fn may(connection: &Connection, verb: &str) -> Finding {
    let namespace = &connection.namespace;
    let (group, plural) =
        if connection.leases { ("coordination.k8s.io", "leases") } else { ("metaparticle.io", "locks") };
    let check = format!("may {verb} {plural}");
    let attributes = ResourceAttributes {
        group: Some(group.into()),
        resource: Some(plural.into()),
        namespace: Some(namespace.clone()),
        verb: Some(verb.into()),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(connection.client.clone());
    match in_time(reviews.create(&PostParams::default(), &review)).await {
        Some(Ok(answer)) if answer.status.as_ref().is_some_and(|status| status.allowed) => {
            Finding::good(&check, format!("in namespace {namespace}"))
        }
        Some(Ok(_)) => {
            let store = if connection.leases { "--store leases " } else { "" };
            let advice = format!("let an administrator run `msync install {store}--rbac {namespace}`");
            Finding::bad(&check, format!("not allowed in namespace {namespace}"), advice)
        }
        Some(Err(error)) => Finding::doubtful(&check, look::told(&error), "ask an administrator"),
        None => Finding::doubtful(&check, format!("no answer within {PATIENCE:?}"), "run it again"),
    }
}

/// Takes a lock that nobody else wants, and measures how long its watch needs to show it.
pub(super) async fn event(connection: &Connection) -> Finding {
    const CHECK: &str = "watch";
    let client = match connection.msync(Some("msync-doctor")) {
        Ok(client) => client,
        Err(failure) => return Finding::bad(CHECK, failure.to_string(), "see the checks above"),
    };
    let found = in_time(measured(&client)).await;
    client.shutdown().await;
    match found {
        Some(Ok(took)) if took <= SLOW => Finding::good(CHECK, format!("an event after {} ms", took.as_millis())),
        Some(Ok(took)) => {
            let advice = "hand-overs are as slow; see whether the API server or etcd is overloaded";
            Finding::doubtful(CHECK, format!("an event after {} ms", took.as_millis()), advice)
        }
        Some(Err(error)) => Finding::bad(CHECK, error.to_string(), "mend what it says, and run it again"),
        None => {
            let advice = "something between here and the API server may hold back streams, such as a proxy";
            Finding::bad(CHECK, format!("no event within {PATIENCE:?}"), advice)
        }
    }
}

async fn measured(client: &msync::Client) -> Result<Duration, msync::Error> {
    let random = client.identity().rsplit('.').next().unwrap_or_default();
    let lock = client.lock(format!("msync-doctor-{random}"))?;
    let mut sightings = std::pin::pin!(lock.sightings());
    sightings.next().await;
    let begun = BootClock.now();
    let guard = lock.acquire().await?;
    while sightings.next().await.flatten().is_none() {}
    let took = BootClock.now().since(begun);
    guard.release().await?;
    Ok(took)
}

pub(super) fn no_event() -> Finding {
    Finding::doubtful("watch", "not tried", "mend what failed above, and run it again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Health;

    #[test]
    fn the_definition_of_this_version_is_found_good() {
        let finding = compared(&definition());
        assert_eq!(finding.health, Health::Good, "{finding:?}");
    }

    #[test]
    fn a_definition_that_lacks_something_is_found() {
        let mut old = definition();
        old.spec.versions[0].selectable_fields = None;
        let schema = old.spec.versions[0].schema.as_mut().unwrap().open_api_v3_schema.as_mut().unwrap();
        let spec = schema.properties.as_mut().unwrap().get_mut("spec").unwrap();
        spec.properties.as_mut().unwrap().remove("beat");
        let finding = compared(&old);
        assert_eq!(finding.health, Health::Bad);
        for lacking in [".spec.beat", "selectable field .spec.engine", "selectable field .spec.owner"] {
            assert!(finding.found.contains(lacking), "{}", finding.found);
        }
    }
}
