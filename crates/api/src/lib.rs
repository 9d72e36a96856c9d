//! Kubernetes types that Weir owns or reads, and every name it shares with a cluster.
