//! The guide's fencing, on the databases that it names: its own statement, with tokens of real acquisitions.

mod postgres;

use msync::{Client, LockGuard, MemoryStore};
use rusqlite::params;

/// The statements of the guide: the table, and the write.
fn statements() -> (String, String) {
    let guide = include_str!("../../../docs/guide.md");
    let (_, rest) = guide.split_once("```sql\n").expect("the guide has the statements");
    let (block, _) = rest.split_once("```").expect("the block ends");
    let code: String = block.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join("\n");
    let mut statements = code.split(';').map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    let both = (statements.next().expect("the table"), statements.next().expect("the write"));
    assert_eq!(statements.next(), None, "all of them are tried");
    both
}

/// The tokens of a holder that froze and of the one that came after it.
async fn tokens() -> (i64, i64) {
    let store = MemoryStore::new();
    let holder = || async { acquired(&Client::builder().memory(&store).build()).await };
    let frozen = holder().await;
    let late = frozen.token();
    drop(frozen); // as the others see it, once its ttl is over
    let next = holder().await;
    assert!(next.token() > late);
    (signed(late.get()), signed(next.token().get()))
}

async fn acquired(client: &Client) -> LockGuard {
    client.lock("account-a").unwrap().acquire().await.unwrap()
}

fn signed(token: u64) -> i64 {
    i64::try_from(token).expect("a token fits into a BIGINT")
}

#[tokio::test]
async fn sqlite_refuses_the_write_of_a_holder_that_wakes_up_late() {
    let ((table, write), (late, next)) = (statements(), tokens().await);
    let db = rusqlite::Connection::open_in_memory().unwrap();
    db.execute(&table, []).unwrap();
    db.execute("INSERT INTO account (id, balance) VALUES ('a', 100)", []).unwrap();
    let write = write.replace('$', "?"); // how SQLite counts parameters
    let written = |balance: i64, token: i64| db.execute(&write, params!["a", balance, token]).unwrap();
    assert_eq!(written(90, late), 1, "it holds");
    assert_eq!(written(80, next), 1, "the next one holds");
    assert_eq!(written(85, next), 1, "and writes again");
    assert_eq!(written(70, late), 0, "the first one wakes up");
    let kept: i64 = db.query_row("SELECT balance FROM account", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, 85);
}

#[tokio::test]
async fn postgres_refuses_the_write_of_a_holder_that_wakes_up_late() {
    let Some(server) = postgres::server() else { return };
    let ((table, write), (late, next)) = (statements(), tokens().await);
    let db = server.connect().await;
    db.batch_execute(&table).await.unwrap();
    db.execute("INSERT INTO account (id, balance) VALUES ('a', 100)", &[]).await.unwrap();
    let written = async |balance: i64, token: i64| db.execute(&write, &[&"a", &balance, &token]).await.unwrap();
    assert_eq!(written(90, late).await, 1);
    assert_eq!(written(80, next).await, 1);
    assert_eq!(written(70, late).await, 0);
}

/// What the guide says of READ COMMITTED: who waited for another's row lock compares again.
#[tokio::test]
async fn postgres_compares_again_after_it_has_waited_for_the_row() {
    let Some(server) = postgres::server() else { return };
    let ((table, write), (late, next)) = (statements(), tokens().await);
    let (mut db, other, watcher) = (server.connect().await, server.connect().await, server.connect().await);
    db.batch_execute(&table).await.unwrap();
    db.execute("INSERT INTO account (id, balance) VALUES ('a', 100)", &[]).await.unwrap();
    let transaction = db.transaction().await.unwrap();
    assert_eq!(transaction.execute(&write, &[&"a", &80_i64, &next]).await.unwrap(), 1);
    let waiting = tokio::spawn(async move { other.execute(&write, &[&"a", &70_i64, &late]).await.unwrap() });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    while watcher.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(!waiting.is_finished(), "it waits for the row");
    }
    transaction.commit().await.unwrap();
    assert_eq!(waiting.await.unwrap(), 0, "it saw 100 and token 0 when it began");
}
