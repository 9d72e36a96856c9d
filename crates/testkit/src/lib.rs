//! Test doubles and clusters, a dev-dependency only.
