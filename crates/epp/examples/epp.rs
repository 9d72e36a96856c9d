//! The picker as a program of its own, without the rest of `weir`: for measuring.

use std::process::ExitCode;

fn main() -> ExitCode {
    weir_runtime::install_crypto();
    weir_epp::main(std::env::args_os().skip(1).collect())
}
