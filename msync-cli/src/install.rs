//! `msync install`: the Lock resource, and the rights to use it in a namespace.

use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use msync::{Error, unstable::crd::definition};
use serde_json::{Value, json};

use crate::{
    args::{Cluster, Install, Output, Store},
    connect::Connection,
    exit::{FORBIDDEN, Failure},
    look, show,
};

/// Owns what it has applied, so that applying again mends what others have changed.
const MANAGER: &str = "msync-install";

pub(crate) async fn install(cluster: &Cluster, args: &Install) -> Result<(), Failure> {
    if let Some(output) = args.print {
        return print(cluster, args, output);
    }
    let connection = Connection::open(cluster).await?;
    if connection.leases && args.rbac.is_empty() {
        eprintln!("msync: locks in Leases need no resource; `--rbac NAMESPACE` gives the rights to use them");
    }
    connection.msync(None)?.install_crd().await.map_err(|error| match error {
        Error::Forbidden(why) => {
            let next = "let an administrator run `msync install`, or apply what `msync install --print yaml` shows";
            Failure::new(FORBIDDEN, format_args!("{}; {next}", why.split("; missing is").next().unwrap_or_default()))
        }
        other => other.into(),
    })?;
    if !connection.leases {
        eprintln!("msync: the Lock resource is installed");
    }
    for namespace in &args.rbac {
        allow(&connection, namespace, &args.service_account).await?;
        eprintln!("msync: service account {} may use locks in namespace {namespace}", args.service_account);
    }
    Ok(())
}

async fn allow(connection: &Connection, namespace: &str, account: &str) -> Result<(), Failure> {
    let (client, rights) = (&connection.client, Rights::of(connection.leases));
    let how = PatchParams::apply(MANAGER).force();
    let failed = |error| look::refused(&error, "install the rights");
    let roles: Api<Role> = Api::namespaced(client.clone(), namespace);
    roles.patch(rights.name, &how, &Patch::Apply(role(&rights, namespace))).await.map_err(failed)?;
    let name = binding_name(&rights, account);
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), namespace);
    bindings.patch(&name, &how, &Patch::Apply(binding(&rights, namespace, account))).await.map_err(failed)?;
    Ok(())
}

fn print(cluster: &Cluster, args: &Install, output: Output) -> Result<(), Failure> {
    let leases = cluster.store == Store::Leases;
    let mut documents = Vec::new();
    if !leases {
        documents.push(serde_json::to_value(definition()).expect("a definition is JSON"));
    }
    let rights = Rights::of(leases);
    for namespace in &args.rbac {
        documents.extend([role(&rights, namespace), binding(&rights, namespace, &args.service_account)]);
    }
    if output == Output::Json {
        return show::json(&json!({"apiVersion": "v1", "kind": "List", "items": documents}));
    }
    documents.iter().try_for_each(|document| {
        show::print("---\n")?;
        show::yaml(document)
    })
}

/// What is allowed, and under which name.
struct Rights {
    name: &'static str,
    group: &'static str,
    resource: &'static str,
}

// === impl Rights ===

impl Rights {
    fn of(leases: bool) -> Self {
        if leases {
            Self { name: "msync-leases", group: "coordination.k8s.io", resource: "leases" }
        } else {
            Self { name: "msync", group: "metaparticle.io", resource: "locks" }
        }
    }
}

fn role(rights: &Rights, namespace: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": rights.name, "namespace": namespace},
        "rules": [{
            "apiGroups": [rights.group],
            "resources": [rights.resource],
            "verbs": ["create", "delete", "get", "list", "patch", "watch"],
        }],
    })
}

fn binding(rights: &Rights, namespace: &str, account: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": binding_name(rights, account), "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": rights.name},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    })
}

/// One binding for each account: installing for a second one takes nothing from the first.
fn binding_name(rights: &Rights, account: &str) -> String {
    if account == "default" { rights.name.to_owned() } else { format!("{}-{account}", rights.name) }
}
