use std::{
    io::Read,
    path::PathBuf,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::run::{cargo, root};

/// Longer than this no run is waited for.
const LIMIT: Duration = Duration::from_secs(60);

/// One of those that are measured.
pub(super) struct Program {
    pub(super) name: &'static str,
    command: Vec<String>,
}

/// A name and a value.
pub(super) type Figure = (String, f64);

/// What came of a run.
pub(super) enum Run {
    Took(Vec<Figure>),
    /// It does no such thing, or not at such a size.
    LeftOut,
    TooLong,
}

impl Program {
    /// Built alone, so that no other's features get into it.
    pub(super) fn rust(name: &'static str, package: &str) -> Result<Self, String> {
        let folder = root().join("benches/peers");
        let status = cargo([
            "build",
            "--release",
            "--package",
            &format!("peer-{package}"),
        ])
        .arg("--manifest-path")
        .arg(folder.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(folder.join("target"))
        .status()
        .map_err(|error| format!("cargo cannot be run: {error}"))?;
        let program = folder.join("target/release").join(format!("peer-{name}"));
        match status.success() {
            true => Ok(Self {
                name,
                command: vec![shown(program)],
            }),
            false => Err(format!("peer-{name} cannot be built")),
        }
    }

    /// In Go, with the release that its module names, or else with the one that Debian packages; `None` where it
    /// cannot be built.
    pub(super) fn go(name: &'static str) -> Option<Self> {
        let folder = root().join("benches/peers");
        let program = folder.join("target").join(format!("peer-{name}"));
        let build = |environment: &[(&str, &str)]| {
            Command::new("go")
                .args(["build", "-o", &shown(program.clone())])
                .current_dir(folder.join(name))
                .envs(environment.iter().copied())
                .status()
                .is_ok_and(|status| status.success())
        };
        let debian = [("GO111MODULE", "off"), ("GOPATH", "/usr/share/gocode")];
        (build(&[]) || build(&debian)).then(|| Self {
            name,
            command: vec![shown(program)],
        })
    }

    /// By an interpreter; `None` where there is none.
    pub(super) fn script(name: &'static str, interpreter: &str, file: &str) -> Option<Self> {
        let mut there = Command::new(interpreter);
        there.stdout(Stdio::null()).stderr(Stdio::null());
        there.status().ok()?;
        let file = root().join("benches/peers").join(file);
        Some(Self {
            name,
            command: vec![interpreter.to_owned(), shown(file)],
        })
    }

    pub(super) fn run(&self, operation: &str, size: usize) -> Result<Run, String> {
        let complaint = |why: &str| format!("{} {operation} {size}: {why}", self.name);
        let mut running = Command::new(&self.command[0])
            .args(&self.command[1..])
            .args([operation, &size.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| complaint(&error.to_string()))?;
        let (send, receive) = mpsc::channel();
        let stdout = running.stdout.take();
        thread::spawn(move || {
            let mut said = String::new();
            let _ = stdout.map(|mut stdout| stdout.read_to_string(&mut said));
            let _ = send.send(said);
        });
        let Ok(said) = receive.recv_timeout(LIMIT) else {
            let _ = running.kill();
            let _ = running.wait();
            return Ok(Run::TooLong);
        };
        let status = running
            .wait()
            .map_err(|error| complaint(&error.to_string()))?;
        let line: Value = serde_json::from_str(said.trim()).map_err(|_| complaint(&said))?;
        if !status.success() {
            return Err(complaint(&said));
        }
        let Some(taken) = line["taken"].as_object() else {
            return Ok(Run::LeftOut);
        };
        let taken = taken
            .iter()
            .filter_map(|(figure, value)| Some((figure.clone(), value.as_f64()?)));
        Ok(Run::Took(taken.collect()))
    }
}

fn shown(path: PathBuf) -> String {
    path.display().to_string()
}
