//! The contract of the vLLM engine: flags, metric names, transfer parameters.
