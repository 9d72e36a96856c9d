//! End-to-end tests: real processes of this program, real clients, as a user has them.

mod bad_input;
mod crash;
mod instance;
mod kubectl;
mod serve;
