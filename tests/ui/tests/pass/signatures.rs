//! Signatures of all kinds stay as they were.

use std::{cell::RefCell, collections::HashMap, fmt::Display, rc::Rc};

use msync::{Error, locked};

use crate::{MyError, use_memory};

#[locked("generic-{key}")]
async fn generic<'a, K, V>(map: &'a mut HashMap<K, V>, key: K, value: V) -> Result<&'a V, Error>
where
    K: Display + std::hash::Hash + Eq + Clone,
{
    map.insert(key.clone(), value);
    Ok(&map[&key])
}

#[locked("impl-trait")]
async fn impl_trait(items: impl IntoIterator<Item = u32>) -> Result<impl Iterator<Item = u32>, Error> {
    let doubled: Vec<_> = items.into_iter().map(|item| item * 2).collect();
    Ok(doubled.into_iter())
}

#[locked("patterns-{last}")]
async fn patterns((a, b): (u32, u32), _: String, [c, ..]: [u32; 3], mut last: u32) -> Result<u32, Error> {
    last += 1;
    Ok(a + b + c + last)
}

#[locked("early")]
async fn early(text: &str) -> Result<i32, MyError> {
    if text.is_empty() {
        return Ok(0);
    }
    let number: i32 = text.parse()?;
    Ok(number)
}

#[locked("temporaries")]
async fn temporaries(shared: std::sync::Mutex<Vec<u8>>) -> Result<usize, Error> {
    Ok(shared.lock().unwrap().len())
}

#[locked("not-send")]
async fn not_send(counter: Rc<RefCell<u32>>) -> Result<u32, Error> {
    tokio::task::yield_now().await;
    *counter.borrow_mut() += 1;
    Ok(*counter.borrow())
}

#[locked("never-ends")]
async fn diverges() -> Result<(), Error> {
    panic!("on purpose")
}

#[locked("const-generic")]
async fn const_generic<const N: usize>(items: [u8; N]) -> Result<usize, Error> {
    Ok(items.len() + N)
}

#[tokio::test]
async fn signatures_stay_as_they_were() {
    use_memory();
    let mut map = HashMap::new();
    assert_eq!(generic(&mut map, "k", 5).await.unwrap(), &5);
    assert_eq!(impl_trait([1, 2]).await.unwrap().sum::<u32>(), 6);
    assert_eq!(patterns((1, 2), String::new(), [3, 0, 0], 4).await.unwrap(), 11);
    assert_eq!(early("").await.unwrap(), 0);
    assert_eq!(early("17").await.unwrap(), 17);
    assert!(matches!(early("x").await, Err(MyError::Parse(_))));
    assert_eq!(temporaries(vec![1, 2].into()).await.unwrap(), 2);
    assert_eq!(not_send(Rc::default()).await.unwrap(), 1);
    assert_eq!(const_generic([1, 2, 3]).await.unwrap(), 6);
}

#[tokio::test]
async fn futures_of_send_bodies_are_send_and_static() {
    use_memory();
    let task = tokio::spawn(early("3"));
    assert_eq!(task.await.unwrap().unwrap(), 3);
    let task = tokio::spawn(crate::names::list(3));
    assert_eq!(task.await.unwrap().unwrap(), 3);
    let task = tokio::spawn(crate::leader::leading());
    task.await.unwrap();
}

#[tokio::test]
async fn a_panic_goes_on_and_the_lock_is_free() {
    use_memory();
    for _ in 0..2 {
        let panic = tokio::spawn(diverges()).await.unwrap_err();
        assert!(panic.is_panic());
    }
}
