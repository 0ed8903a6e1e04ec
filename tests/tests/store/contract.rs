//! The contract of a store, on memory and on an API server.

use std::sync::Arc;

use anyhow::Result;
use msync::MemoryStore;
use tests::store_contract;

use crate::Bench;

macro_rules! on_both_stores {
    ($($property:ident)*) => {
        mod memory {
            use super::*;
            $(
                #[tokio::test]
                async fn $property() {
                    store_contract::$property(Arc::new(MemoryStore::new())).await;
                }
            )*
        }

        mod kubernetes {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $property() -> Result<()> {
                    if let Some(bench) = Bench::new().await? {
                        store_contract::$property(bench.store).await;
                    }
                    Ok(())
                }
            )*
        }
    };
}

on_both_stores! {
    every_change_does_what_its_definition_says
    every_refusal_is_the_one_of_the_definition
    an_absent_lock_reads_as_none
    delete_needs_the_newest_version
    versions_grow_across_deletion
    a_list_shows_every_lock
    an_escaped_name_keeps_its_original
    enqueue_delivered_twice_stands_twice
    the_65th_waiter_is_refused
    an_entry_that_does_not_parse_can_be_removed
    sixty_writers_append_in_order_while_the_holder_renews
    a_watch_of_a_lock_shows_its_whole_life
    a_watch_of_an_absent_lock_sees_it_made
    an_inbox_shows_what_its_engine_holds
    an_inbox_sees_a_lock_freed_and_taken_again
    a_watch_of_who_is_next_shows_every_beat_since_the_hand_off
    a_watch_of_all_shows_every_lock
    a_watch_that_lags_loses_nothing
}
