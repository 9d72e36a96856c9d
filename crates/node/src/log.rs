//! The log of a container: what comes out of its pipes, line by line with times, in files of bounded
//! size and number.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt};
use weir_runtime::container_log::{self, KEPT, LONGEST, Run, Stream};

use crate::place;

/// The end of a log that becomes a termination message, in bytes.
const MESSAGE: usize = 2048;
/// What is read of a file for it; lines carry more than their text.
const MESSAGE_READ: u64 = 8 << 10;

/// The files of the present run of one container.
pub(crate) struct Log {
    directory: PathBuf,
    container: String,
    file: File,
    size: u64,
    limit: u64,
}

impl Log {
    /// Begins the log of a new run; what is there becomes that of the run before.
    pub(crate) fn begin(directory: &Path, container: &str) -> io::Result<Self> {
        Self::with_limit(directory, container, container_log::LIMIT)
    }

    fn with_limit(directory: &Path, container: &str, limit: u64) -> io::Result<Self> {
        place::make_dir(directory)?;
        let path = |run, age| directory.join(container_log::file_name(container, run, age));
        if path(Run::Present, 0).exists() {
            for age in 0..KEPT {
                shift(&path(Run::Present, age), &path(Run::Previous, age))?;
            }
        }
        Ok(Self {
            file: place::open_log(&path(Run::Present, 0))?,
            directory: directory.to_owned(),
            container: container.to_owned(),
            size: 0,
            limit,
        })
    }

    fn path(&self, age: usize) -> PathBuf {
        let name = container_log::file_name(&self.container, Run::Present, age);
        self.directory.join(name)
    }

    /// Appends whole lines; a file that would become too large is put aside first.
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let more = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        if self.size > 0 && self.size.saturating_add(more) > self.limit {
            for age in (1..KEPT).rev() {
                shift(&self.path(age - 1), &self.path(age))?;
            }
            self.file = place::open_log(&self.path(0))?;
            self.size = 0;
        }
        self.file.write_all(lines)?;
        self.size += more;
        Ok(())
    }

    /// Takes what a container writes until it has closed both.
    pub(crate) async fn take(
        mut self,
        mut out: impl AsyncRead + Unpin,
        mut err: impl AsyncRead + Unpin,
    ) {
        let (mut outs, mut errs) = (Lines::new(Stream::Out), Lines::new(Stream::Err));
        let (mut out_open, mut err_open) = (true, true);
        let mut told = false;
        let (mut out_bytes, mut err_bytes) = ([0; 8 << 10], [0; 8 << 10]);
        while out_open || err_open {
            let mut ready = Vec::new();
            tokio::select! {
                read = out.read(&mut out_bytes), if out_open => {
                    out_open = outs.read(read, &out_bytes, &mut ready);
                }
                read = err.read(&mut err_bytes), if err_open => {
                    err_open = errs.read(read, &err_bytes, &mut ready);
                }
            }
            // A full disk must not stop the container; what it says meanwhile is lost.
            if let Err(error) = self.append(&ready)
                && !std::mem::replace(&mut told, true)
            {
                tracing::warn!(container = self.container, %error, "Log not written");
            }
        }
    }
}

/// Moves a file over another one; where there is none, nothing is left there either.
fn shift(from: &Path, to: &Path) -> io::Result<()> {
    let missing = |error: &io::Error| error.kind() == ErrorKind::NotFound;
    match fs::rename(from, to) {
        Err(error) if missing(&error) => match fs::remove_file(to) {
            Err(error) if missing(&error) => Ok(()),
            other => other,
        },
        other => other,
    }
}

/// What of a stream has not ended its line yet.
struct Lines {
    stream: Stream,
    open: Vec<u8>,
}

impl Lines {
    fn new(stream: Stream) -> Self {
        Self {
            stream,
            open: Vec::new(),
        }
    }

    /// Takes what was read; whether the stream goes on.
    fn read(&mut self, read: io::Result<usize>, bytes: &[u8], ready: &mut Vec<u8>) -> bool {
        let now = container_log::time(Timestamp::now());
        match read.ok().and_then(|count| bytes.get(..count)) {
            Some(bytes) if !bytes.is_empty() => {
                self.split(bytes, &now, ready);
                true
            }
            _ => {
                if !self.open.is_empty() {
                    let rest = std::mem::take(&mut self.open);
                    container_log::write(ready, &now, self.stream, &rest, true);
                }
                false
            }
        }
    }

    fn split(&mut self, bytes: &[u8], now: &str, ready: &mut Vec<u8>) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.open.extend_from_slice(part);
            let whole = self.open.last() == Some(&b'\n');
            let text = self.open.len() - usize::from(whole);
            let mut rest = &self.open[..text];
            while rest.len() > LONGEST {
                let (first, after) = rest.split_at(LONGEST);
                container_log::write(ready, now, self.stream, first, false);
                rest = after;
            }
            if whole {
                container_log::write(ready, now, self.stream, rest, true);
                self.open.clear();
            } else {
                self.open = rest.to_vec();
            }
        }
    }
}

/// What a container said last, for its termination message.
pub(crate) fn last_words(directory: &Path, container: &str) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let path = directory.join(container_log::file_name(container, Run::Present, 0));
    let read = || -> io::Result<(bool, Vec<u8>)> {
        let mut file = File::open(path)?;
        let from = file.metadata()?.len().saturating_sub(MESSAGE_READ);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(MESSAGE_READ).read_to_end(&mut bytes)?;
        Ok((from > 0, bytes))
    };
    let (cut, bytes) = read().unwrap_or_default();
    let mut text = Vec::new();
    for line in bytes
        .split_inclusive(|byte| *byte == b'\n')
        .skip(usize::from(cut))
    {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if let Some(line) = container_log::parse(line) {
            text.extend_from_slice(line.text);
            if line.whole {
                text.push(b'\n');
            }
        }
    }
    let from = text.len().saturating_sub(MESSAGE);
    String::from_utf8_lossy(&text[from..]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(path: &Path) -> Vec<String> {
        let bytes = fs::read(path).unwrap_or_default();
        let lines = bytes
            .split(|byte| *byte == b'\n')
            .filter_map(container_log::parse);
        lines
            .map(|line| {
                let end = if line.whole { "" } else { "…" };
                format!("{}{end}", String::from_utf8_lossy(line.text))
            })
            .collect()
    }

    #[tokio::test]
    async fn both_streams_are_taken_line_by_line() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::begin(dir.path(), "c").unwrap();
        let long = "x".repeat(LONGEST);
        let out = format!("one\n\n{long}y\nopen end");
        Box::pin(log.take(out.as_bytes(), &b"other\n"[..])).await;
        let mut found = texts(&dir.path().join("c.log"));
        found.retain(|text| text != "other");
        let wanted = ["one", "", &format!("{long}…"), "y", "open end"];
        assert_eq!(found, wanted);
        // Which of two streams is read first is not settled.
        let last = last_words(dir.path(), "c").replace("other\n", "");
        assert!(last.ends_with("y\nopen end\n"), "{last}");
    }

    #[test]
    fn files_are_rotated_by_size_and_three_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::with_limit(dir.path(), "c", 100).unwrap();
        for turn in 0..9 {
            let mut line = Vec::new();
            let at = container_log::time(Timestamp::UNIX_EPOCH);
            container_log::write(
                &mut line,
                &at,
                Stream::Out,
                turn.to_string().as_bytes(),
                true,
            );
            log.append(&line).unwrap();
        }
        let found = |name: &str| texts(&dir.path().join(name)).join(" ");
        let files = ["c.log", "c.log.1", "c.log.2", "c.log.3"].map(found);
        assert_eq!(files, ["8", "6 7", "4 5", ""]);
        // The next run begins anew, and of the run before all is kept.
        drop(Log::with_limit(dir.path(), "c", 100).unwrap());
        assert_eq!(["c.log", "c.log.1"].map(found), ["", ""]);
        let previous = ["c.previous.log", "c.previous.log.1", "c.previous.log.2"].map(found);
        assert_eq!(previous, ["8", "6 7", "4 5"]);
        // Nothing of an older run stays among them.
        drop(Log::with_limit(dir.path(), "c", 100).unwrap());
        let previous = ["c.previous.log", "c.previous.log.1"].map(found);
        assert_eq!(previous, ["", ""]);
    }
}
