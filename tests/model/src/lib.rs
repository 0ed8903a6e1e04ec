//! The shipped protocol, model-checked: every interleaving of two or three engines within a budget of faults.
//!
//! The transition functions are those that ship: [`msync::unstable::protocol::Keeper::step`] and [`msync::unstable::record::Change::apply`].
//! What is modelled is all around them: a server, a network, watches, clocks, and users. `README.md` beside this crate
//! says what is explored, what is abstracted away, and which mutants of the protocol it kills.
//!
//! A state is a [`World`]; [`Lab`] says what can happen in one, and which promises must hold in all.

mod fault;
mod lab;
mod lease;
mod node;
mod plan;
mod promise;
mod server;
mod session;
mod world;

pub use fault::Fault;
pub use lab::{Act, Lab};
pub use lease::{Known, Ops, Seen, Stranger};
pub use node::{Guard, Node, Phase, Step};
pub use plan::{Budget, Peer, Plan, Session};
pub use promise::{Promise, Reach};
pub use server::{Origin, Server};
pub use session::Side;
pub use world::{Desk, Reply, Request, World};
