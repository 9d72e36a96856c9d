//! A simulated vLLM server.
