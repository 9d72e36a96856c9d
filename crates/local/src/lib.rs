//! One machine: store, controllers, node and gateway in one process.
