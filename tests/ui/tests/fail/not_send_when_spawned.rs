use std::rc::Rc;

use msync::{Error, locked};

#[locked("a")]
async fn not_send(counter: Rc<u32>) -> Result<u32, Error> {
    Ok(*counter)
}

fn main() {
    fn wants_send<T: Send>(_: T) {}
    wants_send(not_send(Rc::new(1)));
}
