//! The contract of a store: in memory, on an API server in the resource, and there in Leases.

use std::sync::Arc;

use anyhow::Result;
use msync::MemoryStore;
use tests::store_contract;

use crate::Bench;

macro_rules! on_all_stores {
    (all: [$($property:ident)*] places: [$($of_places:ident)*] terms: [$($of_terms:ident)*]) => {
        mod memory {
            use super::*;
            $(in_memory! { $property })*
            $(in_memory! { $of_places })*
        }

        mod kubernetes {
            use super::*;
            $(on_a_server! { $property Bench::new() })*
            $(on_a_server! { $of_places Bench::new() })*
        }

        mod leases {
            use super::*;
            $(on_a_server! { $property Bench::on_leases() })*
            $(on_a_server! { $of_terms Bench::on_leases() })*
        }
    };
}

macro_rules! in_memory {
    ($property:ident) => {
        #[tokio::test]
        async fn $property() {
            store_contract::$property(Arc::new(MemoryStore::new())).await;
        }
    };
}

macro_rules! on_a_server {
    ($property:ident $bench:expr) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $property() -> Result<()> {
            if let Some(bench) = $bench.await? {
                store_contract::$property(bench.store).await;
            }
            Ok(())
        }
    };
}

on_all_stores! {
all: [
    every_change_does_what_its_definition_says
    every_refusal_is_the_one_of_the_definition
    an_absent_lock_reads_as_none
    delete_needs_the_newest_version
    versions_grow_across_deletion
    a_list_shows_every_lock
    an_escaped_name_keeps_its_original
    the_65th_waiter_is_refused
    an_entry_that_does_not_parse_can_be_removed
    a_watch_of_a_lock_shows_its_whole_life
    a_watch_of_an_absent_lock_sees_it_made
    an_inbox_shows_what_its_engine_holds
    an_inbox_sees_a_lock_freed_and_taken_again
    a_watch_of_who_is_next_shows_every_beat_since_the_hand_off
    a_watch_of_all_shows_every_lock
    a_watch_of_the_sessions_shows_no_lock
    a_watch_that_lags_loses_nothing
]
// Where the queue is a list: an entry has a place in it.
places: [
    an_entry_is_found_at_its_place_only
    enqueue_delivered_twice_stands_twice
    sixty_writers_append_in_order_while_the_holder_renews
]
// Where each entry stands under its term.
terms: [
    enqueue_delivered_twice_stands_once
    sixty_writers_append_while_the_holder_renews
]
}
