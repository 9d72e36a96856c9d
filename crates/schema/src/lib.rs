//! Structural schemas: prune, default and validate Kubernetes objects.
