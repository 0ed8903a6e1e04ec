//! The guide's row: a closure that returns a future does not infer; `async |guard| { … }` does.

async fn bill(lock: &msync::Lock) -> Result<(), msync::Error> {
    lock.run(|guard| async move { println!("{}", guard.token()) }).await
}

fn main() {}
