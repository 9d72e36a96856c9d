//! `weir launch`, as an engine image runs it: from a volume, in front of the engine's words.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::instance::program;

fn launch(env: &[(&str, &str)], options: &[&str]) -> Output {
    let mut command = Command::new(program());
    command
        .arg("launch")
        .args(options)
        .env_clear()
        .env("PATH", "/usr/bin:/bin");
    command.envs(env.iter().copied()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Becomes `echo`, which shows the words as they arrive.
#[test]
fn the_words_get_rank_and_leader() {
    let env = [
        ("LWS_LEADER_ADDRESS", "localhost"),
        ("LWS_WORKER_INDEX", "3"),
    ];
    let options = [
        "--wait-for-leader",
        "--ranks-per-node",
        "8",
        "--",
        "echo",
        "--rank",
        "$(WEIR_START_RANK)",
        "--at=localhost",
        "a b",
        "$HOME",
    ];
    let output = launch(&env, &options);
    assert!(output.status.success(), "{output:?}");
    let shown = text(&output.stdout);
    let at = ["127.0.0.1", "::1"];
    assert!(
        at.iter()
            .any(|at| shown == format!("--rank 24 --at={at} a b $HOME\n")),
        "{shown}"
    );
}

#[test]
fn a_leader_that_does_not_resolve_is_waited_for_within_a_bound() {
    let env = [
        ("LWS_LEADER_ADDRESS", "no-such-leader.invalid"),
        ("DP_ADDRESS_RESOLVE_ATTEMPTS", "2"),
    ];
    let output = launch(
        &env,
        &["--wait-for-leader", "--", "echo", "no-such-leader.invalid"],
    );
    assert_eq!(text(&output.stdout), "no-such-leader.invalid\n");
    assert!(
        text(&output.stderr).contains("attempt 2 of 2"),
        "{output:?}"
    );
}

#[test]
fn devices_of_a_tree_become_variables() {
    let tree = tempfile::tempdir().unwrap();
    for (device, state) in [("mlx5_0", "4: ACTIVE"), ("mlx5_1", "1: DOWN")] {
        let port = tree.path().join(device).join("ports/1");
        let write = |path: &str, text: &str| {
            let path = port.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        };
        write("state", state);
        for (index, kind, value) in [
            ("0", "IB/RoCE v1", "fe80:0000:0000:0000:0ac0:ebff:fe12:3456"),
            ("1", "RoCE v2", "0000:0000:0000:0000:0000:ffff:0a00:0001"),
        ] {
            write(&format!("gids/{index}"), value);
            write(&format!("gid_attrs/types/{index}"), kind);
        }
    }
    let root = tree.path().to_str().unwrap();
    let options = ["--infer-roce", "--infiniband", root, "--", "env"];
    let output = launch(&[("UCX_NET_DEVICES", "own")], &options);
    let shown = text(&output.stdout);
    for line in [
        "NCCL_IB_HCA=mlx5_0",
        "NVSHMEM_HCA_LIST=mlx5_0:1",
        "UCX_NET_DEVICES=own",
        "UCX_IB_GID_INDEX=1",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
    let none = launch(
        &[],
        &["--infer-roce", "--infiniband", "/nowhere", "--", "env"],
    );
    assert!(none.status.success());
    assert!(!text(&none.stdout).contains("NCCL"));
}

#[test]
fn the_program_installs_itself() {
    let volume = tempfile::tempdir().unwrap();
    let path = volume.path().join("weir");
    let output = launch(&[], &["--install", path.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o755
    );
    assert_eq!(
        fs::metadata(&path).unwrap().len(),
        fs::metadata(Path::new(program())).unwrap().len()
    );
    assert_eq!(fs::read_dir(volume.path()).unwrap().count(), 1);
}

#[test]
fn what_cannot_be_started_is_told_like_a_shell_does() {
    let rows: [(&[&str], i32, &str); 4] = [
        (
            &["--", "/no/such/program"],
            127,
            "cannot start /no/such/program",
        ),
        (&["--", "/"], 126, "cannot start /"),
        (
            &["--ranks-per-node", "2", "--", "echo"],
            2,
            "LWS_WORKER_INDEX is not set",
        ),
        (&[], 2, "required"),
    ];
    for (options, code, message) in rows {
        let output = launch(&[], options);
        assert_eq!(output.status.code(), Some(code), "{options:?}");
        assert!(text(&output.stderr).contains(message), "{output:?}");
    }
}
