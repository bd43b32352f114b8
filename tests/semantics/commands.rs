use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use rust_supervisor::{
    ChildShutdownStatus, ChildStatus, ExitOutcome, StopCause, SupervisorError, ms, secs,
};

use crate::{
    PAGE,
    cell::{Answer, Cell},
    paused,
    puppet::Puppet,
    real,
    scene::{Kind, Scene},
    support::{by, running, shut_down, until, within},
    table::{Row, Table},
};

/// In this column stands what becomes of the child if nobody does anything.
const ALONE: &str = "left alone";

fn of_children() -> Table {
    Table::find(PAGE, &["state", ALONE])
}

fn of_supervisors() -> Table {
    Table::find(PAGE, &["state", "scale_child"])
}

/// Which kinds of children a column is about.
fn kinds(column: &str) -> &'static [Kind] {
    match column {
        ALONE | "pause_child" | "resume_child" | "restart_child" | "quarantine_child"
        | "remove_child" | "wait_ready" | "shutdown" | "shutdown_tree" => &Kind::ALL,
        "scale_child" => &[Kind::Pool],
        "scale_child, no pool" => &[Kind::Worker, Kind::Bare, Kind::Supervisor],
        "add_child" => &[Kind::Supervisor],
        "add_child, no supervisor" => &[Kind::Worker, Kind::Bare],
        other => panic!("no such command: {other:?}"),
    }
}

#[test]
fn every_state_is_in_both_tables() {
    let (children, supervisors) = (of_children(), of_supervisors());
    let states = children.names();
    assert_eq!(states, supervisors.names());
    for name in ChildStatus::NAMES {
        let name = name.replace('_', " ");
        assert!(
            states.iter().any(|state| state.starts_with(&name)),
            "{name}"
        );
    }
    for cause in StopCause::ALL {
        let state = format!("stopping for {cause}");
        assert!(states.contains(&state.as_str()), "{state}");
    }
}

#[test]
fn every_command_answers_in_every_state_as_the_tables_say() {
    let (children, supervisors) = (of_children(), of_supervisors());
    assert_eq!(children.columns.len() + supervisors.columns.len(), 7 + 6);
    let mut wrong = Vec::new();
    for (row, of_supervisor) in children.rows.iter().zip(&supervisors.rows) {
        let alone = row.cell(ALONE);
        for (table, row) in [(&children, row), (&supervisors, of_supervisor)] {
            for column in &table.columns {
                wrong.extend(see(row, column, alone));
            }
        }
    }
    assert!(wrong.is_empty(), "these cells are not so: {wrong:#?}");
}

/// Executes a cell for each kind of child that comes into its state; answers where it is not so.
fn see(row: &Row, column: &str, alone: &str) -> Vec<String> {
    let mut found = 0;
    let mut wrong = Vec::new();
    for &kind in kinds(column) {
        let place = format!("{:?}, {column}, {kind:?}", row.name);
        let cell = execute(row, column, alone, kind, &place);
        let blocks = row.name == "stopping" || row.name.starts_with("lingering");
        let seen = catch_unwind(AssertUnwindSafe(|| match blocks {
            true => real(cell),
            false => paused(cell),
        }));
        match seen {
            Ok(seen) => found += usize::from(seen),
            Err(_) => wrong.push(place),
        }
    }
    let can_be = row.cell(column) != "cannot be";
    if wrong.is_empty() && can_be != (found > 0) {
        wrong.push(format!("{:?}, {column}", row.name));
    }
    wrong
}

async fn execute(row: &Row, column: &str, alone: &str, kind: Kind, place: &str) -> bool {
    let Some(scene) = Scene::set(&row.name, kind).await else {
        return false;
    };
    let before = scene.status();
    // A command may wait for an end that has to come about; without one that does it is answered before.
    if row.name == "stopping" || (row.name == "lingering" && column == "wait_ready") {
        let puppet = scene.puppet.clone();
        tokio::spawn(async move {
            tokio::time::sleep(ms(100)).await;
            puppet.release();
        });
    }
    let text = row.cell(column);
    if column == "shutdown_tree" {
        assert_eq!(shutdown(&scene).await, text, "{place}");
        return true;
    }
    let cell = match column {
        ALONE => Cell {
            answer: Answer::Done,
            left: None,
        },
        _ => Cell::parse(text),
    };
    let answer = tokio::time::timeout(Duration::from_secs(300), carry_out(column, &scene)).await;
    let answer = answer.unwrap_or_else(|_| panic!("{place}: no answer"));
    assert_eq!(answer, cell.answer, "{place}");
    match (&cell.answer, cell.left.as_deref()) {
        (Answer::Lingers, Some("removed")) => {
            assert!(!scene.handle.health().is_healthy(), "{place}");
        }
        (Answer::Lingers, _) => assert!(scene.is("lingering"), "{place}"),
        // What such a command waits for.
        (_, Some(left @ ("paused" | "quarantined" | "removed"))) => {
            assert!(scene.is(left), "{place}: {:?}", scene.status());
        }
        _ => {}
    }
    scene.puppet.release();
    match (cell.left.as_deref(), alone.strip_prefix("→ ")) {
        (Some(left), _) | (None, Some(left)) => scene.arrives(left).await,
        (None, None) => {
            assert_eq!(alone, "stays");
            tokio::time::sleep(secs(10)).await;
            assert_eq!(scene.status(), before, "{place}");
        }
    }
    for path in scene.upright {
        let generation = scene.handle.child_state(*path).map_or(0, |b| b.generation);
        running(&scene.handle, path, generation).await;
    }
    if (&cell.answer, cell.left.as_deref()) == (&Answer::Lingers, Some("removed")) {
        // Its thread has been let go, and takes its time to end.
        until(|| scene.handle.health().is_healthy()).await;
    }
    let result = shut_down(&scene.handle).await;
    assert!(result.clean, "{place}: {result}");
    assert!(
        !scene.puppet.overlapped(),
        "{place}: two runs of a child overlapped"
    );
    true
}

async fn carry_out(column: &str, scene: &Scene) -> Answer {
    let (handle, path, by) = (&scene.handle, scene.path.clone(), by());
    let outcome = match column {
        ALONE => return Answer::Done,
        "wait_ready" => {
            return match handle.wait_ready(path).await {
                Ok(generation) => {
                    let child = handle.child_state(scene.path.clone()).unwrap();
                    assert_eq!((child.ready, child.generation), (true, generation));
                    Answer::Done
                }
                Err(error) => refused(&error, scene),
            };
        }
        "shutdown" => {
            return match handle.shutdown(&by).await {
                Ok(report) => {
                    assert_eq!(report.outcome, ExitOutcome::ControlPlaneStopped);
                    assert!(!handle.is_alive());
                    Answer::Done
                }
                Err(error) => refused(&error, scene),
            };
        }
        "pause_child" => handle.pause_child(path, &by).await,
        "resume_child" => handle.resume_child(path, &by).await,
        "restart_child" => handle.restart_child(path, &by).await,
        "quarantine_child" => handle.quarantine_child(path, &by).await,
        "remove_child" => handle.remove_child(path, &by).await,
        "scale_child" | "scale_child, no pool" => {
            let scaled = handle.scale_child(path.clone(), 3, &by).await;
            if scaled.is_ok() {
                let pool = handle.child_state(path).unwrap().supervisor.unwrap();
                assert_eq!(pool.replicas, Some(3));
            }
            scaled
        }
        "add_child" | "add_child, no supervisor" => {
            let added = handle
                .add_child(path.clone(), Puppet::default().child("y"), &by)
                .await;
            if added.is_ok() {
                assert!(handle.child_state(path.child("y")).unwrap().ready);
            }
            added
        }
        other => panic!("no such command: {other:?}"),
    };
    match outcome {
        Ok(outcome) => outcome.change.into(),
        Err(error) => refused(&error, scene),
    }
}

/// A refusal names who it is about.
fn refused(error: &SupervisorError, scene: &Scene) -> Answer {
    if let SupervisorError::NotApplicable { path, status, .. } = error {
        assert!(
            *path == scene.path && !status.is_empty(),
            "{error}, of {}",
            scene.path
        );
    }
    Answer::from(error)
}

/// How the child took the shutdown, as the report says.
async fn shutdown(scene: &Scene) -> &'static str {
    let result = within(scene.handle.shutdown_tree(&by())).await.unwrap();
    let mut children = result.report.children.iter();
    let word = match children.find(|child| child.path == scene.path) {
        None => "done",
        Some(child) => match child.status {
            ChildShutdownStatus::AlreadyExited => "already exited",
            ChildShutdownStatus::Graceful => "graceful",
            ChildShutdownStatus::Aborted => "aborted",
            ChildShutdownStatus::AbortFailed => "abort failed",
            ChildShutdownStatus::LateReport => "late report",
        },
    };
    assert_eq!(result.clean, word != "abort failed", "{result}");
    scene.puppet.release();
    word
}
