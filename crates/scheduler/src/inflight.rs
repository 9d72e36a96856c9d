//! Requests in flight.

/// Most load producers of a configuration.
pub const MAX_LOAD_PRODUCERS: usize = 4;
