//! An embedded API store that speaks the Kubernetes API.
