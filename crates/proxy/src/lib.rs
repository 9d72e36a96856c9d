//! HTTP both ways: streaming, cancellation, guards that ride on bodies.
