//! Envoy's external processing, the protocol between a gateway and an endpoint picker.
//!
//! - [`pb`]: the messages. [`frame`]: gRPC messages in a stream's data. [`wire`]: messages to bytes and back.
//! - [`exchange`]: the picker's side of one stream. [`intake`]: what a request says, and the body that goes out.
//! - [`parsers`]: which API a request is of. [`usage`]: token counts as responses pass.
//! - [`headers`], [`names`]: headers as they came, and the names that both sides know.

pub mod exchange;
pub mod frame;
pub mod headers;
pub mod intake;
pub mod names;
pub mod parsers;
pub mod pb;
pub mod usage;
pub mod wire;
