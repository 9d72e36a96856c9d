//! Generated files: writes them, and checks that they are up to date.

fn main() {}
