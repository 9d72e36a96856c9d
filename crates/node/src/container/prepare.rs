//! What a container is started with: its command line and its environment.

use std::path::Path;

use serde_json::Value;

use super::PodContext;
use crate::env::{self, Environment};
use crate::job::{self, Job, Surroundings};
use crate::objects::ReadError;
use crate::paths::{self, Mount};
use crate::pod::TMP;
use crate::{EngineChoice, probe, volumes};

const FORBIDDEN_ENV: [&str; 4] = ["PATH", "HOME", "GLIBC_TUNABLES", "GCONV_PATH"];
const MODEL_DIRS: [&str; 2] = ["HF_HOME", "HF_HUB_CACHE"];

/// What is to be done with a container.
pub(super) enum Prepared {
    Start {
        argv: Vec<String>,
        env: Environment,
        mounts: Vec<Mount>,
        real_engine: bool,
        forwards: Vec<u16>,
    },
    Skip(String),
    Refused(String),
}

/// Reads what the manifest names and decides what to run.
pub(super) async fn prepare(
    context: &PodContext,
    container: &Value,
    first: bool,
) -> Result<Prepared, ReadError> {
    let options = &context.options;
    let mounts = volumes::mounts(container, &context.hosts)?;
    let mut env = env::declared(container, &context.pod, context.ip, &context.objects).await?;
    env.set_default("POD_IP", context.ip.to_string());
    let around = Surroundings {
        engine: &options.engine,
        program: &options.program,
        allow_host_commands: options.allow_host_commands,
        ip: context.ip,
        directory: &context.directory,
        mounts: &mounts,
    };
    let decided = job::decide(container, &env, around);
    env.map(|value| paths::replace(value, &mounts));
    let (argv, real_engine, forwards) = match decided {
        Job::Run {
            argv,
            real_engine,
            forwards,
        } => (argv, real_engine, forwards),
        Job::Link(from, to) => {
            return Ok(match link(context, &from, &to, &mounts) {
                Ok(message) => Prepared::Skip(message),
                Err(message) => Prepared::Refused(message),
            });
        }
        Job::Skip(message) => return Ok(Prepared::Skip(message)),
        Job::NotRunnable(message) => return Ok(Prepared::Refused(message)),
    };
    if let Some(message) = probe::refused(container, context.ip) {
        return Ok(Prepared::Refused(message));
    }
    if !options.allow_host_commands {
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            if container[probe].get("exec").is_some() {
                return Ok(Prepared::Refused(format!(
                    "its {probe} runs a command, which needs --allow-host-commands"
                )));
            }
        }
        let dropped = env.remove_where(|name| {
            FORBIDDEN_ENV.contains(&name) || name.starts_with("LD_") || name.starts_with("WEIR_")
        });
        if first && !dropped.is_empty() {
            let message = format!(
                "Variables not taken from the manifest: {}",
                dropped.join(", ")
            );
            context
                .objects
                .event(&context.pod, false, "VariablesDropped", &message)
                .await;
        }
        let inside = |value: &str| {
            mounts
                .iter()
                .any(|mount| Path::new(value).starts_with(&mount.host))
        };
        let refused = env.iter().find(|(name, value)| {
            let model_dir = MODEL_DIRS.contains(name) && inside(value) && !value.contains("..");
            !model_dir && !weir_vllm::safety::env_is_safe(name)
        });
        if real_engine && let Some((name, _)) = refused {
            return Ok(Prepared::Refused(format!(
                "variable {name} is not given to a real engine from a manifest; --allow-host-commands lifts this"
            )));
        }
    }
    surround(context, &mut env, real_engine);
    Ok(Prepared::Start {
        argv,
        env,
        mounts,
        real_engine,
        forwards,
    })
}

/// Puts a link to a model of this machine in place of the empty directory of a volume.
fn link(context: &PodContext, from: &Path, to: &Path, mounts: &[Mount]) -> Result<String, String> {
    let real = volumes::allowed(from, &context.options)?;
    if !mounts.iter().any(|mount| mount.host == to) {
        return Err(format!("{} is not a volume of the pod", to.display()));
    }
    let made = || -> std::io::Result<()> {
        match std::fs::read_link(to) {
            Ok(_) => std::fs::remove_file(to)?,
            Err(_) => std::fs::remove_dir(to)?,
        }
        std::os::unix::fs::symlink(&real, to)
    };
    made().map_err(|error| format!("cannot link {}: {error}", to.display()))?;
    Ok(format!("{} is read where it is", real.display()))
}

/// What the node itself puts into every environment.
fn surround(context: &PodContext, env: &mut Environment, real_engine: bool) {
    let options = &context.options;
    let mut path = "/usr/local/bin:/usr/bin:/bin".to_owned();
    if let EngineChoice::Vllm(program) = &options.engine
        && let Some(parent) = program.parent()
    {
        path = format!("{}:{path}", parent.display());
    }
    env.set_default("PATH", path);
    env.set_default("HOME", context.directory.to_string_lossy());
    env.set_default("TMPDIR", context.directory.join(TMP).to_string_lossy());
    env.set_default("LANG", "C.UTF-8");
    env.set("WEIR_POD_IP", context.ip.to_string());
    if let Some(path) = &context.kubeconfig {
        env.set_default("KUBECONFIG", path.to_string_lossy());
    }
    if real_engine {
        for name in ["VLLM_HOST_IP", "VLLM_NIXL_SIDE_CHANNEL_HOST"] {
            env.set(name, context.ip.to_string());
        }
        for name in [
            "GLOO_SOCKET_IFNAME",
            "NCCL_SOCKET_IFNAME",
            "UCX_NET_DEVICES",
        ] {
            env.set(name, "lo");
        }
    }
}
