//! CPU time and memory of a process, from `/proc`.

use std::time::Duration;

use clap::Args;

/// CPU and memory of a process over some seconds.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The process
    #[arg(long)]
    pid: u32,
    /// How long
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
}

/// What a process used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    /// Seconds of CPU.
    pub(crate) cpu: f64,
    /// Resident memory in MiB, and the most it ever was.
    pub(crate) memory: f64,
    pub(crate) peak: f64,
}

/// Clock ticks in a second: what Linux tells programs, on every machine.
const TICKS: f64 = 100.0;

/// What `pid` used so far; nothing when there is no such process.
pub(crate) fn used(pid: u32) -> Used {
    let read =
        |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let stat = read("stat");
    // The name may hold blanks, so it is counted from behind its parenthesis.
    let fields: Vec<&str> = stat
        .rsplit_once(") ")
        .map(|(_, rest)| rest.split(' ').collect())
        .unwrap_or_default();
    let ticks = |index: usize| -> f64 {
        fields
            .get(index)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0.0)
    };
    let status = read("status");
    let mib = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|kib| kib.parse::<f64>().ok())
            .map_or(0.0, |kib| kib / 1024.0)
    };
    Used {
        cpu: (ticks(11) + ticks(12)) / TICKS,
        memory: mib("VmRSS:"),
        peak: mib("VmHWM:"),
    }
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), String> {
    let before = used(arguments.pid);
    tokio::time::sleep(Duration::from_secs_f64(arguments.seconds)).await;
    let after = used(arguments.pid);
    println!(
        "cores {:.3}  rss {:.1} MiB  peak {:.1} MiB",
        (after.cpu - before.cpu) / arguments.seconds,
        after.memory,
        after.peak
    );
    Ok(())
}
