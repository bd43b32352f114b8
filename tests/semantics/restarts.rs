use std::time::Duration;

use rust_supervisor::{
    Backoff, Jitter, RestartType, SupervisorHandle, SupervisorSpec, TaskExit, secs,
};

use crate::{
    PAGE, paused,
    puppet::{Order, Puppet},
    support::{Switchboard, by, running, shut_down, start, until, within},
    table::Table,
};

const DELAY: Duration = Duration::from_secs(1);
const HEALTHY: Duration = Duration::from_secs(30);
const BEAT: Duration = Duration::from_secs(90);

#[test]
fn what_follows_a_run_is_what_the_truth_table_says() {
    let table = Table::find(PAGE, &["the run ended as", "permanent"]);
    for row in &table.rows {
        for column in &table.columns {
            let restart = match column.as_str() {
                "permanent" => RestartType::Permanent,
                "transient" => RestartType::Transient,
                "temporary" => RestartType::Temporary,
                other => panic!("no such restart type: {other:?}"),
            };
            let place = format!("{:?}, {column}", row.name);
            let found = paused(follow(&row.name, restart, &place));
            assert_eq!(found, row.cell(column), "{place}");
        }
    }
    assert_eq!(table.columns.len(), 3);
    // How a run may end; one that was dropped ended as the stop says, or by what dropped it.
    for exit in TaskExit::ALL {
        let name = match exit {
            TaskExit::TimedOut => "timed out",
            TaskExit::Cancelled | TaskExit::Aborted => "stopped for restart",
            other => other.as_str(),
        };
        assert!(table.names().contains(&name), "{name}");
    }
}

/// Has a run of a child of this type end so, and says what follows.
async fn follow(ended: &str, restart: RestartType, place: &str) -> &'static str {
    let (board, puppet) = (Switchboard::new(), Puppet::default());
    let backoff = Backoff::constant(DELAY)
        .jitter(Jitter::None)
        .reset_after(HEALTHY);
    let x = puppet.child("x").restart(restart).backoff(backoff);
    let x = match ended {
        "unhealthy" => x.heartbeat_within(BEAT),
        _ => x,
    };
    let tree = match ended {
        "stopped for sibling" => SupervisorSpec::one_for_all("n"),
        _ => SupervisorSpec::one_for_one("n"),
    };
    let far = board.child("far").backoff(None);
    let tree = SupervisorSpec::one_for_one("t").supervisor(tree.child(far).child(x));
    let handle = start(tree).await;
    let by = by();
    let (when, healthy) = match ended.strip_suffix(", after the healthy time") {
        Some(ended) => (ended, true),
        None => (ended, false),
    };
    if healthy {
        tokio::time::sleep(HEALTHY).await;
    }
    match when {
        "completed" => puppet.order(Order::Complete),
        "failed" => puppet.order(Order::Fail),
        "panicked" => puppet.order(Order::Panic),
        "timed out" => puppet.order(Order::TimeOut),
        "fatal failure" => puppet.order(Order::Fatal),
        "unhealthy" => {}
        "stopped for restart" => drop(within(handle.restart_child("n/x", &by)).await.unwrap()),
        "stopped for pause" => drop(within(handle.pause_child("n/x", &by)).await.unwrap()),
        "stopped for quarantine" => {
            within(handle.quarantine_child("n/x", &by)).await.unwrap();
        }
        "stopped for removal" => drop(within(handle.remove_child("n/x", &by)).await.unwrap()),
        "stopped for sibling" => board.fail("far"),
        "stopped for shutdown" => {
            within(handle.pause_child("n", &by)).await.unwrap();
            within(handle.resume_child("n", &by)).await.unwrap();
            running(&handle, "n", 2).await;
        }
        other => panic!("no such end: {other:?}"),
    }
    let found = what_follows(&handle, place).await;
    let well = !matches!(found, "failed" | "quarantined");
    assert_eq!(handle.health().is_healthy(), well, "{place}");
    if ended != "stopped for sibling" && ended != "stopped for shutdown" {
        let far = handle.child_state("n/far").unwrap();
        assert_eq!(far.generation, 1, "{place}: its sibling goes on");
    }
    assert!(shut_down(&handle).await.clean, "{place}");
    found
}

async fn what_follows(handle: &SupervisorHandle, place: &str) -> &'static str {
    let x = || handle.child_state("n/x");
    until(|| {
        x().map_or(true, |x| {
            x.generation == 2
                || !matches!(
                    x.status.as_str(),
                    "running" | "stopping" | "backing_off" | "waiting"
                )
        })
    })
    .await;
    let Ok(child) = x() else {
        return "dropped";
    };
    if child.generation == 1 {
        return child.status.as_str();
    }
    running(handle, "n/x", 2).await;
    let child = x().unwrap();
    let charged = child.fuse.is_some_and(|fuse| fuse.used > 0);
    let waited = child.last_exit.unwrap().ago;
    assert_eq!(
        waited >= DELAY,
        charged,
        "{place}: the next run waited {waited:?}"
    );
    assert!(waited < DELAY + secs(1), "{place}: {waited:?}");
    if charged {
        "restart, charged"
    } else {
        "restart, free"
    }
}
