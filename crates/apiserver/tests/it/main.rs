//! The store as its clients see it: the real `kubectl` and the kube client.

mod client;
mod kit;
mod kubectl;
