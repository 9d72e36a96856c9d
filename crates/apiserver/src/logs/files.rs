//! The files of one run of a container, read as one text that goes on while they are rotated.

use std::io::SeekFrom;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use weir_runtime::container_log::{self, KEPT, Run};

const CHUNK: usize = 64 << 10;

/// Where the files are.
pub(super) struct Files {
    pub(super) directory: PathBuf,
    pub(super) container: String,
    pub(super) run: Run,
}

impl Files {
    fn path(&self, age: usize) -> PathBuf {
        self.path_of(self.run, age)
    }

    fn path_of(&self, run: Run, age: usize) -> PathBuf {
        let name = container_log::file_name(&self.container, run, age);
        self.directory.join(name)
    }

    /// Whether there is a log of this run.
    pub(super) fn exist(&self) -> bool {
        self.path(0).exists()
    }

    /// The oldest file that is there.
    fn oldest(&self) -> Option<usize> {
        (0..KEPT).rev().find(|age| self.path(*age).exists())
    }

    /// Opens a file, with the number by which it is known under every name.
    async fn open(&self, age: usize) -> Option<(File, u64)> {
        let file = File::open(self.path(age)).await.ok()?;
        let number = file.metadata().await.ok()?.ino();
        Some((file, number))
    }

    /// Under which name of a run the file of this number is now.
    fn age_of(&self, run: Run, number: u64) -> Option<usize> {
        let is = |age: &usize| {
            let data = std::fs::metadata(self.path_of(run, *age));
            data.is_ok_and(|data| data.ino() == number)
        };
        (0..KEPT).find(is)
    }

    /// Where the last `lines` lines begin: the file and the place in it.
    async fn tail(&self, lines: usize) -> Option<(usize, u64)> {
        let mut wanted = lines;
        let mut place = None;
        for age in 0..KEPT {
            let Some((mut file, _)) = self.open(age).await else {
                break;
            };
            let (found, at) = before_end(&mut file, wanted).await.unwrap_or((0, 0));
            place = Some((age, at));
            wanted = wanted.saturating_sub(found);
            if wanted == 0 {
                break;
            }
        }
        place
    }
}

/// Where the last `lines` lines of a file begin, and how many of them there are.
async fn before_end(file: &mut File, lines: usize) -> std::io::Result<(usize, u64)> {
    let end = file.seek(SeekFrom::End(0)).await?;
    if lines == 0 || end == 0 {
        return Ok((0, end));
    }
    let (mut position, mut found) = (end, 0);
    let mut buffer = vec![0; CHUNK];
    while position > 0 {
        let size = position.min(CHUNK as u64);
        position -= size;
        let part = buffer
            .get_mut(..usize::try_from(size).unwrap_or(CHUNK))
            .unwrap_or_default();
        file.seek(SeekFrom::Start(position)).await?;
        file.read_exact(part).await?;
        for (index, byte) in part.iter().enumerate().rev() {
            let at = position + index as u64;
            if *byte == b'\n' && at + 1 != end {
                found += 1;
                if found == lines {
                    return Ok((found, at + 1));
                }
            }
        }
    }
    Ok((found + 1, 0))
}

/// Reads the files from a place on.
pub(super) struct Reader {
    files: Files,
    open: Option<(File, u64)>,
    /// Whether the open file was put aside, so that nothing is added to it any more.
    closed: bool,
    /// Whether another run has begun since, so that this one is the one before by now.
    moved: bool,
    /// Whether all of such a run was read.
    over: bool,
}

impl Reader {
    /// Begins with the last `tail` lines, or with all.
    pub(super) async fn new(files: Files, tail: Option<usize>) -> Self {
        let place = match tail {
            Some(lines) => files.tail(lines).await,
            None => None,
        };
        let mut open = None;
        if let Some((age, at)) = place
            && let Some((mut file, number)) = files.open(age).await
            && file.seek(SeekFrom::Start(at)).await.is_ok()
        {
            open = Some((file, number));
        }
        Self {
            files,
            open,
            closed: false,
            moved: false,
            over: false,
        }
    }

    /// Whether nothing comes any more, because the container was started anew.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// What comes next; nothing when nothing more is there yet.
    pub(super) async fn next(&mut self) -> Vec<u8> {
        loop {
            let Some((file, number)) = &mut self.open else {
                let Some(age) = self.files.oldest() else {
                    return Vec::new();
                };
                self.open = self.files.open(age).await;
                self.closed = false;
                if self.open.is_none() {
                    return Vec::new();
                }
                continue;
            };
            let mut bytes = Vec::new();
            let read = file.take(CHUNK as u64).read_to_end(&mut bytes).await;
            if read.is_ok_and(|count| count > 0) {
                return bytes;
            }
            let number = *number;
            let mut age = self.files.age_of(self.files.run, number);
            if age.is_none() && !self.moved {
                age = self.files.age_of(Run::Previous, number);
                if age.is_some() {
                    self.files.run = Run::Previous;
                    self.moved = true;
                }
            }
            if age == Some(0) && !self.moved {
                return Vec::new();
            }
            // Between the read and the look something may have been added.
            if !std::mem::replace(&mut self.closed, true) {
                continue;
            }
            let next = match age {
                Some(0) => None,
                Some(age) => Some(age - 1),
                None if self.moved => None,
                // Put aside more often than files are kept.
                None => self.files.oldest(),
            };
            if next.is_none() && self.moved {
                self.over = true;
                return Vec::new();
            }
            self.open = match next {
                Some(age) => self.files.open(age).await,
                None => None,
            };
            self.closed = false;
            if self.open.is_none() {
                return Vec::new();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn files(dir: &std::path::Path) -> Files {
        Files {
            directory: dir.to_owned(),
            container: "c".into(),
            run: Run::Present,
        }
    }

    fn append(dir: &std::path::Path, text: &str) {
        let mut options = std::fs::OpenOptions::new();
        let file = options.create(true).append(true).open(dir.join("c.log"));
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn rotate(dir: &std::path::Path) {
        for (from, to) in [("c.log.1", "c.log.2"), ("c.log", "c.log.1")] {
            let _ = std::fs::rename(dir.join(from), dir.join(to));
        }
    }

    async fn rest(reader: &mut Reader) -> String {
        let mut all = Vec::new();
        loop {
            let bytes = reader.next().await;
            if bytes.is_empty() {
                return String::from_utf8(all).unwrap();
            }
            all.extend(bytes);
        }
    }

    #[tokio::test]
    async fn files_are_one_text_also_while_they_are_rotated() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let mut reader = Reader::new(files(dir), None).await;
        assert_eq!(rest(&mut reader).await, "");
        append(dir, "1\n");
        assert_eq!(rest(&mut reader).await, "1\n");
        append(dir, "2\n");
        rotate(dir);
        append(dir, "3\n");
        rotate(dir);
        append(dir, "4\n");
        assert_eq!(rest(&mut reader).await, "2\n3\n4\n");
        assert_eq!(rest(&mut reader).await, "");
        append(dir, "5\n");
        for text in ["6\n", "7\n", "8\n"] {
            rotate(dir);
            append(dir, text);
        }
        // What is not there any more cannot be read; the rest follows.
        assert_eq!(rest(&mut reader).await, "5\n6\n7\n8\n");
    }

    #[tokio::test]
    async fn a_reader_stays_with_its_run() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        append(dir, "1\n");
        let mut reader = Reader::new(files(dir), None).await;
        assert_eq!(rest(&mut reader).await, "1\n");
        append(dir, "2\n");
        rotate(dir);
        append(dir, "3\n");
        for (from, to) in [("c.log.1", "c.previous.log.1"), ("c.log", "c.previous.log")] {
            std::fs::rename(dir.join(from), dir.join(to)).unwrap();
        }
        append(dir, "of the next run\n");
        assert_eq!(rest(&mut reader).await, "2\n3\n");
        assert!(reader.is_over());
        assert_eq!(rest(&mut reader).await, "");
    }

    #[tokio::test]
    async fn the_last_lines_may_be_in_several_files() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        append(dir, "1\n2\n");
        rotate(dir);
        append(dir, "3\n4\n");
        rotate(dir);
        append(dir, "5\n6\n");
        for (lines, wanted) in [
            (0, ""),
            (1, "6\n"),
            (2, "5\n6\n"),
            (3, "4\n5\n6\n"),
            (5, "2\n3\n4\n5\n6\n"),
            (9, "1\n2\n3\n4\n5\n6\n"),
        ] {
            let mut reader = Reader::new(files(dir), Some(lines)).await;
            assert_eq!(rest(&mut reader).await, wanted, "{lines}");
        }
    }
}
