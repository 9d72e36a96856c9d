//! Runs pods as local processes, through the API only.
