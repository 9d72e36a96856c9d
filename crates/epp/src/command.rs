//! The command: words in, exit status out.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use weir_runtime::logs;

use crate::options::Options;
use crate::run;

/// Runs the picker with the words after the program's name.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let words: Vec<String> = arguments
        .into_iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let options = match Options::parse(&words) {
        Ok(options) => options,
        Err(error) => {
            say(&format!("{error}\n{}", Options::help_text()));
            return ExitCode::from(error.status);
        }
    };
    if options.help {
        print(&Options::help_text());
        return ExitCode::SUCCESS;
    }
    let checked = options.text("check-config").to_owned();
    if !checked.is_empty() {
        return check(&checked, &options);
    }
    let level = match options.verbosity() {
        ..=0 => "error",
        1..=3 => "info",
        4 => "debug",
        _ => "trace",
    };
    logs::init(level, logs::Format::Json);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "Cannot start");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(run::run(options));
    // A second signal does not wait for what is still under way.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = run::one_line(&error), "The picker stops");
            ExitCode::FAILURE
        }
    }
}

/// Prints what a configuration becomes, or everything that is wrong with it.
fn check(path: &str, options: &Options) -> ExitCode {
    match run::configuration_of(path, options) {
        Ok(config) => {
            for warning in &config.warnings {
                say(&format!("warning: {warning}\n"));
            }
            for notice in &config.notices {
                say(&format!("note: {notice}\n"));
            }
            match serde_saphyr::to_string(&config.effective()) {
                Ok(text) => {
                    print(&text);
                    ExitCode::SUCCESS
                }
                Err(error) => {
                    say(&format!("cannot write the configuration: {error}\n"));
                    ExitCode::FAILURE
                }
            }
        }
        Err(error) => {
            say(&format!("{}\n", run::one_line(&error)));
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
