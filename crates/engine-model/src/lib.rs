//! The physics of an engine: batching, KV cache and latency in virtual time.
