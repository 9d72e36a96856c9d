//! An embedded API store that speaks the Kubernetes API.
//!
//! [`start`] opens a store in a directory and serves it over HTTPS on loopback: discovery, CRUD,
//! watches, patches, subresources, custom kinds, garbage collection. What the embedding program adds
//! to it (admission, defaulting, conversion of its own kinds) comes in through [`Hooks`].
//!
//! A request goes [`server`](self) → verb → [`registry`] (which kind) → admission and schema →
//! [`store`] (index, history, disk) → answer in the version and shape that the caller asked for.

mod address;
mod app;
mod auth;
mod collect;
mod crd;
mod decode;
mod defaults;
mod delete;
mod discovery;
mod event;
pub mod hooks;
mod logs;
pub mod meta;
mod openapi;
mod options;
mod page;
mod patch;
mod protobuf;
mod read;
pub mod registry;
mod request;
mod rule;
mod rules;
pub mod schema;
pub mod selector;
mod server;
mod start;
pub mod status;
pub mod store;
mod sub;
mod table;
mod write;

pub use hooks::{AdmissionRequest, Hooks, NoHooks, Operation, Refusal};
pub use start::{Error, Options, Server, start};
