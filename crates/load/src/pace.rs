//! When requests are due, and what became of them.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::Args;
use hdrhistogram::Histogram;

use crate::process::{Used, used};

/// How much, and for how long.
#[derive(Args, Clone)]
pub(crate) struct Pace {
    /// Requests a second, evenly spaced
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
    /// Seconds that are measured
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// Seconds before that are not measured
    #[arg(long, default_value_t = 3.0)]
    warm_up: f64,
    /// So many at a time in place of a rate
    #[arg(long)]
    closed: Option<usize>,
    /// The process under test
    #[arg(long)]
    pid: Option<u32>,
    /// A file of lines `milliseconds prompt-bytes chunks` in place of a rate and sizes
    #[arg(long)]
    trace: Option<std::path::PathBuf>,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Bytes of the prompt.
    pub(crate) prompt: usize,
    /// Chunks of the response.
    pub(crate) chunks: usize,
}

/// What was measured.
pub(crate) struct Measured {
    latency: Mutex<Histogram<u64>>,
    failed: Mutex<u64>,
    since: Instant,
}

impl Measured {
    /// A request that was due at `due` was answered.
    pub(crate) fn answered(&self, due: Instant) {
        if due >= self.since
            && let Ok(mut latency) = self.latency.lock()
        {
            let _ = latency.record(due.elapsed().as_micros() as u64);
        }
    }

    /// A request failed.
    pub(crate) fn failed(&self) {
        if let Ok(mut failed) = self.failed.lock() {
            *failed += 1;
        }
    }
}

impl Pace {
    /// Runs `one` for every request of this pace and prints what came of it.
    pub(crate) async fn run<F, W>(&self, usual: Shape, one: F) -> Result<(), String>
    where
        F: Fn(Shape, Instant, std::sync::Arc<Measured>) -> W + Send + Sync + Clone + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let begin = Instant::now();
        let since = begin + Duration::from_secs_f64(self.warm_up);
        let end = since + Duration::from_secs_f64(self.seconds);
        let measured = std::sync::Arc::new(Measured {
            latency: Mutex::new(Histogram::new(3).map_err(|error| error.to_string())?),
            failed: Mutex::new(0),
            since,
        });
        let mut tasks = tokio::task::JoinSet::new();
        let before = self.watch(since);
        tasks.spawn(before);
        if let Some(count) = self.closed {
            for _ in 0..count {
                let (one, measured) = (one.clone(), std::sync::Arc::clone(&measured));
                tasks.spawn(async move {
                    while Instant::now() < end {
                        one(usual, Instant::now(), std::sync::Arc::clone(&measured)).await;
                    }
                });
            }
        } else {
            let due: Box<dyn Iterator<Item = (Duration, Shape)> + Send> = match &self.trace {
                Some(path) => Box::new(read(path)?.into_iter()),
                None => {
                    let gap = Duration::from_secs_f64(1.0 / self.rate);
                    Box::new((0_u32..).map(move |index| (gap * index, usual)))
                }
            };
            for (after, shape) in due {
                let at = begin + after;
                if at >= end {
                    break;
                }
                tokio::time::sleep_until(at.into()).await;
                tasks.spawn(one(shape, at, std::sync::Arc::clone(&measured)));
            }
        }
        tokio::time::sleep_until(end.into()).await;
        let at_end = self.pid.map(used);
        let drained = tokio::time::timeout(Duration::from_secs(20), async {
            while tasks.join_next().await.is_some() {}
        });
        let late = drained.await.is_err();
        self.print(&measured, at_end, late);
        Ok(())
    }

    /// Notes what the process had used when measuring began.
    fn watch(&self, since: Instant) -> impl Future<Output = ()> + Send + 'static {
        let pid = self.pid;
        async move {
            tokio::time::sleep_until(since.into()).await;
            if let Some(pid) = pid {
                BEGUN.get_or_init(|| used(pid));
            }
        }
    }

    fn print(&self, measured: &Measured, at_end: Option<Used>, late: bool) {
        let (Ok(latency), Ok(failed)) = (measured.latency.lock(), measured.failed.lock()) else {
            return;
        };
        let ms = |quantile: f64| latency.value_at_quantile(quantile) as f64 / 1000.0;
        print!(
            "answered {}  rate {:.1}/s  failed {}  p50 {:.2} ms  p99 {:.2} ms  max {:.2} ms",
            latency.len(),
            latency.len() as f64 / self.seconds,
            *failed,
            ms(0.5),
            ms(0.99),
            ms(1.0)
        );
        if let (Some(end), Some(begun)) = (at_end, BEGUN.get()) {
            let cpu = end.cpu - begun.cpu;
            print!(
                "  cores {:.3}  ms/request {:.3}  rss {:.1} MiB  peak {:.1} MiB",
                cpu / self.seconds,
                cpu * 1000.0 / (latency.len().max(1) as f64),
                end.memory,
                end.peak
            );
        }
        println!("{}", if late { "  (not all came back)" } else { "" });
    }
}

/// What the process under test had used when measuring began.
static BEGUN: std::sync::OnceLock<Used> = std::sync::OnceLock::new();

fn read(path: &std::path::Path) -> Result<Vec<(Duration, Shape)>, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    text.lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| {
            let numbers: Vec<u64> = line
                .split_whitespace()
                .map(str::parse)
                .collect::<Result<_, _>>()
                .map_err(|_| format!("not a line of a trace: {line:?}"))?;
            let [at, prompt, chunks] = numbers[..] else {
                return Err(format!("not a line of a trace: {line:?}"));
            };
            let shape = Shape {
                prompt: prompt as usize,
                chunks: chunks as usize,
            };
            Ok((Duration::from_millis(at), shape))
        })
        .collect()
}
