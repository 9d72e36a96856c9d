//! HTTPRoutes matched and served, with status written back.
