//! `msync ls` and `msync get`: what the locks look like now.

use crate::{
    args::{Cluster, Get, List},
    connect::Connection,
    exit::{FAILED, Failure},
    look, show,
};

pub(crate) async fn ls(cluster: &Cluster, args: &List) -> Result<(), Failure> {
    let connection = Connection::open(cluster).await?;
    let (found, _) = look::read_all(&look::locks(&connection, args.all_namespaces)).await?;
    let now = look::server_time(&connection.client).await;
    let mut rows: Vec<_> = found.iter().filter_map(|lock| look::row(lock, now)).map(|(row, _)| row).collect();
    rows.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    let illegible = found.len() - rows.len();
    if illegible > 0 {
        eprintln!(
            "msync: {illegible} locks cannot be read: they were edited by hand (`kubectl get locks -o yaml` shows them), or \
             the Lock resource is outdated (`msync doctor` tells)"
        );
    }
    if rows.is_empty() && args.output.is_for_people() {
        if illegible == 0 {
            let place = if args.all_namespaces { "the cluster" } else { &connection.namespace };
            eprintln!("msync: nobody has a lock in {place}");
        }
        return Ok(());
    }
    show::list(&rows, args.output, args.all_namespaces, look::wall())
}

pub(crate) async fn get(cluster: &Cluster, args: &Get) -> Result<(), Failure> {
    let connection = Connection::open(cluster).await?;
    let lock = look::read_one(&connection, &args.name).await?;
    let now = look::server_time(&connection.client).await;
    let (row, _) = look::row(&lock, now).ok_or_else(|| {
        let next = "see it with `kubectl get lock -o yaml`, and delete it once nobody holds it";
        Failure::new(FAILED, format_args!("lock {} was edited by hand and cannot be read: {next}", args.name))
    })?;
    show::one(&row, args.output, look::wall())
}
