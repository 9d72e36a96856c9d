//! Logs of containers: the files that the node writes and the API server reads.
//!
//! A line is as container runtimes write it, `<time> <stream> <tag> <text>`: the time in nanoseconds,
//! `stdout` or `stderr`, and `F` where the text ends a line of the container or `P` where it goes on.
//! Files are rotated by size and few are kept, so that no container fills the disk.

use jiff::Timestamp;

/// Size in bytes beyond which a file is not written any more.
pub const LIMIT: u64 = 10 << 20;
/// Files of one run of a container that are kept, the present one included.
pub const KEPT: usize = 3;
/// Longest text of one line in bytes; what is longer is split.
pub const LONGEST: usize = 16 << 10;

/// Which run of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// The one that runs, or ran last.
    Present,
    /// The one before.
    Previous,
}

/// Where the container wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// One line of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// When it was written, as [`time`] writes it.
    pub time: &'a str,
    /// Where.
    pub stream: Stream,
    /// Whether the container's line ends with it.
    pub whole: bool,
    /// What the container wrote.
    pub text: &'a [u8],
}

/// Name of the file that is the `age`-th before the present one of a run.
pub fn file_name(container: &str, run: Run, age: usize) -> String {
    let middle = match run {
        Run::Present => "",
        Run::Previous => ".previous",
    };
    match age {
        0 => format!("{container}{middle}.log"),
        age => format!("{container}{middle}.log.{age}"),
    }
}

/// A time as lines carry it. All have one length, so that their order is that of the texts.
pub fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string()
}

/// Appends one line to `into`; `at` is written by [`time`].
pub fn write(into: &mut Vec<u8>, at: &str, stream: Stream, text: &[u8], whole: bool) {
    let stream = match stream {
        Stream::Out => "stdout",
        Stream::Err => "stderr",
    };
    let tag = if whole { "F" } else { "P" };
    into.extend_from_slice(format!("{at} {stream} {tag} ").as_bytes());
    into.extend_from_slice(text);
    into.push(b'\n');
}

/// Reads a line, given without its end; `None` when it is not one.
pub fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stream = match parts.next()? {
        b"stdout" => Stream::Out,
        b"stderr" => Stream::Err,
        _ => return None,
    };
    let whole = match parts.next()? {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    Some(Line {
        time,
        stream,
        whole,
        text: parts.next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_were_written() {
        let at = time("2026-01-02T03:04:05.06Z".parse().unwrap());
        assert_eq!(at, "2026-01-02T03:04:05.060000000Z");
        for (stream, text, whole) in [
            (Stream::Out, &b"a b  c"[..], true),
            (Stream::Err, b"", true),
            (Stream::Err, b"\xff no text", false),
        ] {
            let mut bytes = Vec::new();
            write(&mut bytes, &at, stream, text, whole);
            let wanted = Line {
                time: &at,
                stream,
                whole,
                text,
            };
            assert_eq!(parse(bytes.strip_suffix(b"\n").unwrap()), Some(wanted));
        }
        for other in [
            "",
            "free text of some words",
            "2026 stdout X y",
            "2026 stdout",
        ] {
            assert_eq!(parse(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn names_of_files() {
        for (run, age, wanted) in [
            (Run::Present, 0, "c.log"),
            (Run::Present, 2, "c.log.2"),
            (Run::Previous, 0, "c.previous.log"),
            (Run::Previous, 1, "c.previous.log.1"),
        ] {
            assert_eq!(file_name("c", run, age), wanted);
        }
    }
}
