//! `msync install`: the Lock resource, and the rights to use it in a namespace.

use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use msync::{Error, unstable::crd::definition};
use serde_json::{Value, json};

use crate::{
    args::{Cluster, Install, Output},
    connect::Connection,
    exit::{FORBIDDEN, Failure},
    look, show,
};

/// Owns what it has applied, so that applying again mends what others have changed.
const MANAGER: &str = "msync-install";

pub(crate) async fn install(cluster: &Cluster, args: &Install) -> Result<(), Failure> {
    if let Some(output) = args.print {
        return print(args, output);
    }
    let connection = Connection::open(cluster).await?;
    connection.msync(None)?.install_crd().await.map_err(|error| match error {
        Error::Forbidden(why) => {
            let next = "let an administrator run `msync install`, or apply what `msync install --print yaml` shows";
            Failure::new(FORBIDDEN, format_args!("{}; {next}", why.split("; missing is").next().unwrap_or_default()))
        }
        other => other.into(),
    })?;
    eprintln!("msync: the Lock resource is installed");
    for namespace in &args.rbac {
        allow(&connection.client, namespace, &args.service_account).await?;
        eprintln!("msync: service account {} may use locks in namespace {namespace}", args.service_account);
    }
    Ok(())
}

async fn allow(client: &Client, namespace: &str, account: &str) -> Result<(), Failure> {
    let how = PatchParams::apply(MANAGER).force();
    let failed = |error| look::refused(&error, "install the rights");
    let roles: Api<Role> = Api::namespaced(client.clone(), namespace);
    roles.patch("msync", &how, &Patch::Apply(role(namespace))).await.map_err(failed)?;
    let name = binding_name(account);
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), namespace);
    bindings.patch(&name, &how, &Patch::Apply(binding(namespace, account))).await.map_err(failed)?;
    Ok(())
}

fn print(args: &Install, output: Output) -> Result<(), Failure> {
    let mut documents = vec![serde_json::to_value(definition()).expect("a definition is JSON")];
    for namespace in &args.rbac {
        documents.extend([role(namespace), binding(namespace, &args.service_account)]);
    }
    if output == Output::Json {
        return show::json(&json!({"apiVersion": "v1", "kind": "List", "items": documents}));
    }
    documents.iter().try_for_each(|document| {
        show::print("---\n")?;
        show::yaml(document)
    })
}

fn role(namespace: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "msync", "namespace": namespace},
        "rules": [{
            "apiGroups": ["metaparticle.io"],
            "resources": ["locks"],
            "verbs": ["create", "delete", "get", "list", "patch", "watch"],
        }],
    })
}

fn binding(namespace: &str, account: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": binding_name(account), "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "msync"},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    })
}

/// One binding for each account: installing for a second one takes nothing from the first.
fn binding_name(account: &str) -> String {
    if account == "default" { "msync".to_owned() } else { format!("msync-{account}") }
}
