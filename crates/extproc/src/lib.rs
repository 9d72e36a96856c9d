//! Envoy's external processing, the protocol between a gateway and an endpoint picker.
//!
//! - [`pb`]: the messages. [`frame`]: gRPC messages in a stream's data. [`wire`]: messages to bytes and back.

pub mod frame;
pub mod pb;
pub mod wire;
