//! Kubernetes merge semantics on JSON: strategic merge and server-side apply.
