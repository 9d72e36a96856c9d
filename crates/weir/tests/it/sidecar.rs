//! `weir sidecar` as a process: in front of the simulated engine, and how it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::instance::program;

/// A process of a pod with an address of its own.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    /// Starts one and waits for the line that says it listens.
    fn start(pod: Ipv4Addr, words: &[&str], ready: &str) -> Self {
        let child = Command::new(program())
            .args(words)
            .env("WEIR_POD_IP", pod.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut process = Self(child);
        let mut log = BufReader::new(process.0.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains(ready) {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "{words:?} has ended");
        }
        // Whoever reads no more would stop the process at its next line.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        process
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.0.id()).unwrap();
        kill(Pid::from_raw(id), signal).unwrap();
    }
}

/// An address that no other test has: the process id is in it.
fn pod() -> Ipv4Addr {
    let id = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 130 + (id[1] & 0x3f), id[2], id[3].max(1))
}

fn send(pod: Ipv4Addr, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect((pod, 8000)).unwrap();
    let head = "POST /v1/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json";
    write!(
        stream,
        "{head}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    stream
}

#[test]
fn a_sidecar_serves_an_engine_and_lets_its_streams_end() {
    let pod = pod();
    let mut engine = vec!["engine", "serve", "m", "--port", "8001"];
    engine.extend(["--max-model-len", "200000"]);
    let _engine = Process::start(pod, &engine, "Simulated engine serves");
    // As KServe writes it, the words that TLS would fill included.
    let words = [
        "sidecar",
        "--port=8000",
        "--vllm-port=8001",
        "--secure-proxy=false",
        "",
        "",
    ];
    let mut sidecar = Process::start(pod, &words, "Sidecar listens");
    let body =
        r#"{"model": "m", "prompt": "a", "max_tokens": 300, "ignore_eos": true, "stream": true}"#;
    let mut stream = send(pod, body);
    let mut some = [0; 200];
    stream.read_exact(&mut some).unwrap();
    sidecar.signal(Signal::SIGTERM);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("data: [DONE]"), "{rest}");
    assert_eq!(sidecar.0.wait().unwrap().code(), Some(0));

    let mut sidecar = Process::start(pod, &words, "Sidecar listens");
    let endless = body.replace("300", "100000");
    let mut stream = send(pod, &endless);
    stream.read_exact(&mut some).unwrap();
    sidecar.signal(Signal::SIGTERM);
    sidecar.signal(Signal::SIGINT);
    assert_eq!(sidecar.0.wait().unwrap().code(), Some(1));
}

#[test]
fn the_command_line_ends_as_it_is_read() {
    let rows: [(&[&str], i32, &str); 5] = [
        (&["--help"], 0, "--kv-connector"),
        (&["--nonsense"], 2, "unknown flag: --nonsense"),
        (
            &["--kv-connector=x"],
            1,
            "--kv-connector must be one of: nixlv2",
        ),
        (&["--cert-path=/nonexistent"], 1, "/nonexistent/tls.crt"),
        (
            &["--cert-path=/nonexistent"],
            1,
            r#","logger":"weir_sidecar","msg":"Sidecar starts","configuration":"{"#,
        ),
    ];
    for (words, status, says) in rows {
        let output = Command::new(program())
            .arg("sidecar")
            .args(words)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(output.status.code(), Some(status), "{words:?}: {text}");
        assert!(text.contains(says), "{words:?}: {text}");
    }
}
