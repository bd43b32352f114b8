//! SIGINT and SIGTERM, sent to this test run again as a program of its own.
#![cfg(unix)]

mod support;

use std::{
    future::pending,
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use rust_supervisor::{
    ChildSpec, ReadinessPolicy, RuntimeExitReport, Supervisor, SupervisorError, SupervisorSpec,
    TaskContext, ms, secs,
};
use support::{again, said, say};

const READY_AFTER: &str = "SUPERVISOR_SIGNALS_READY_AFTER";
const PLAY: &str = "SUPERVISOR_SIGNALS_TEST";

/// A program under test: its lines as they come, and whether it is over.
struct Program {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Program {
    /// This executable with only `program` in it, playing the part.
    fn start(part: &str) -> Self {
        Self::start_at(part, 0)
    }

    fn start_at(part: &str, ready_after: u64) -> Self {
        let mut child = again(PLAY, part)
            .env(READY_AFTER, ready_after.to_string())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || read(stdout, &send));
        Self { child, lines }
    }

    fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// The next line of ours.
    fn line(&self) -> String {
        self.lines.recv_timeout(Duration::from_secs(30)).unwrap()
    }

    /// All lines to its end.
    fn rest(&self) -> Vec<String> {
        let next = || match self.lines.recv_timeout(Duration::from_secs(30)) {
            Ok(line) => Some(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("it does not end"),
        };
        std::iter::from_fn(next).collect()
    }

    /// Whether it ended by itself and well.
    fn ended_well(mut self) -> bool {
        self.rest();
        self.child.wait().unwrap().success()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(stdout: ChildStdout, send: &mpsc::Sender<String>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        if let Some(said) = said(&line)
            && send.send(said.to_owned()).is_err()
        {
            return;
        }
    }
}

fn signal(pid: u32, name: &str) {
    let pid = pid.to_string();
    let sent = Command::new("kill").args(["-s", name, &pid]).status();
    assert!(sent.unwrap().success());
}

fn ready_after() -> Duration {
    let micros = std::env::var(READY_AFTER).unwrap();
    Duration::from_micros(micros.parse().unwrap())
}

/// A shell that waits for a line on its input to interrupt this process: nearly at once.
fn interrupts_soon() {
    use std::io::Write;

    let interrupt = format!("echo up; read line; kill -INT {}", std::process::id());
    let mut shell = Command::new("sh")
        .args(["-c", &interrupt])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut up = String::new();
    BufReader::new(shell.stdout.take().unwrap())
        .read_line(&mut up)
        .unwrap();
    writeln!(shell.stdin.take().unwrap()).unwrap();
    std::thread::spawn(move || shell.wait());
}

fn polite(id: &'static str) -> ChildSpec {
    ChildSpec::worker(id, move |ctx: TaskContext| async move {
        say(format_args!("{id} up"));
        ctx.cancelled().await;
        say(format_args!("{id} down"));
    })
}

fn deaf(id: &'static str) -> ChildSpec {
    ChildSpec::worker(id, move |ctx: TaskContext| async move {
        say(format_args!("{id} up"));
        ctx.cancelled().await;
        say(format_args!("{id} asked"));
        pending::<()>().await;
    })
    .grace(secs(3600))
}

fn verdict(report: &RuntimeExitReport) {
    let shutdown = report.shutdown.as_ref().unwrap();
    say(format_args!(
        "{:?} clean {}",
        report.outcome, shutdown.clean
    ));
    for child in &*shutdown.report.children {
        say(format_args!("{} {:?}", child.path, child.status));
    }
}

/// Not a test of its own: what the others run.
#[test]
fn program() {
    let Ok(part) = std::env::var(PLAY) else {
        return;
    };
    let tree = SupervisorSpec::one_for_one("t")
        .total_timeout(secs(3600))
        .child(polite("a"));
    match part.as_str() {
        "run" => verdict(&Supervisor::run(tree).unwrap()),
        "handle" => {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let handle = Supervisor::start(tree).await.unwrap();
                let mut waiting = std::pin::pin!(handle.shutdown_on_signal());
                let listens = tokio::time::timeout(ms(1), &mut waiting).await;
                assert!(listens.is_err());
                say("listening");
                verdict(&waiting.await.unwrap());
            });
        }
        "deaf" => verdict(&Supervisor::run(tree.child(deaf("b"))).unwrap()),
        "as it has started" => {
            let b = ChildSpec::worker("b", |ctx: TaskContext| async move {
                interrupts_soon();
                let until = tokio::time::Instant::now() + ready_after();
                while tokio::time::Instant::now() < until {}
                ctx.mark_ready();
                ctx.cancelled().await;
                say("b asked");
                pending::<()>().await;
            });
            let b = b.readiness(ReadinessPolicy::Explicit).grace(secs(3600));
            match Supervisor::run(tree.child(b)) {
                Ok(report) => verdict(&report),
                Err(error) => say(error),
            }
        }
        "starting" => {
            let never = polite("b").readiness(ReadinessPolicy::Explicit);
            let error = Supervisor::run(tree.child(never)).unwrap_err();
            assert_eq!(error, SupervisorError::StartStopped);
            say("start stopped");
        }
        "starting deaf" => {
            let never = deaf("b").readiness(ReadinessPolicy::Explicit);
            let error = Supervisor::run(tree.child(never)).unwrap_err();
            assert_eq!(error, SupervisorError::StartStopped);
            say("start stopped");
        }
        "ends" => {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let handle = Supervisor::start(tree).await.unwrap();
                let waiting = tokio::spawn({
                    let handle = handle.clone();
                    async move { handle.shutdown_on_signal().await.unwrap() }
                });
                tokio::time::timeout(ms(1), pending::<()>())
                    .await
                    .unwrap_err();
                handle.shutdown_tree(&support::by()).await.unwrap();
                verdict(&waiting.await.unwrap());
            });
        }
        part => panic!("no part {part}"),
    }
}

fn stops_gracefully(part: &str, signal: &str) {
    let program = Program::start(part);
    assert_eq!(program.line(), "a up");
    if part == "handle" {
        assert_eq!(program.line(), "listening");
    }
    program.signal(signal);
    assert_eq!(program.line(), "a down");
    assert_eq!(program.line(), "ShutDown clean true");
    assert_eq!(program.line(), "/a Graceful");
    assert!(program.ended_well());
}

#[test]
fn sigint_and_sigterm_stop_a_running_program_gracefully() {
    stops_gracefully("run", "INT");
    stops_gracefully("run", "TERM");
}

#[test]
fn a_handle_waits_for_signals_too() {
    stops_gracefully("handle", "TERM");
}

#[test]
fn a_second_signal_aborts_what_has_not_ended() {
    let program = Program::start("deaf");
    let mut up = [program.line(), program.line()];
    up.sort();
    assert_eq!(up, ["a up", "b up"]);
    program.signal("INT");
    assert_eq!(program.line(), "b asked");
    program.signal("INT");
    // The other may have heard of it in time, or not.
    let said = program.rest();
    for line in ["ShutDown clean true", "/b Aborted"] {
        assert!(said.iter().any(|said| said == line), "{said:?}");
    }
}

/// Whether the first came before or after the start was over cannot be told, and need not be.
#[test]
fn a_second_signal_aborts_when_the_first_came_as_the_last_child_had_started() {
    for micros in (0..1000).step_by(50) {
        let program = Program::start_at("as it has started", micros);
        while program.line() != "b asked" {}
        program.signal("INT");
        assert!(program.ended_well());
    }
}

#[test]
fn a_signal_while_starting_stops_what_has_started() {
    let program = Program::start("starting");
    let mut up = [program.line(), program.line()];
    up.sort();
    assert_eq!(up, ["a up", "b up"]);
    program.signal("TERM");
    assert_eq!(program.line(), "b down");
    assert_eq!(program.line(), "a down");
    assert_eq!(program.line(), "start stopped");
    assert!(program.ended_well());
}

#[test]
fn a_second_signal_while_starting_aborts() {
    let program = Program::start("starting deaf");
    let mut up = [program.line(), program.line()];
    up.sort();
    assert_eq!(up, ["a up", "b up"]);
    program.signal("TERM");
    assert_eq!(program.line(), "b asked");
    program.signal("TERM");
    while program.line() != "start stopped" {}
    assert!(program.ended_well());
}

#[test]
fn waiting_for_signals_ends_with_the_tree() {
    let program = Program::start("ends");
    assert_eq!(program.line(), "a up");
    assert_eq!(program.line(), "a down");
    assert_eq!(program.line(), "ShutDown clean true");
    assert_eq!(program.line(), "/a Graceful");
    assert!(program.ended_well());
}
