use std::time::Duration;

use rust_supervisor::{ChildSpec, OnFuseBlown, SupervisorHandle, SupervisorSpec};

use crate::{
    PAGE, paused,
    puppet::{Order, Puppet},
    support::{Switchboard, by, comes_to, running, shut_down, start, within},
    table::Table,
};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn what_charges_what_is_as_the_table_says() {
    let table = Table::find(PAGE, &["what happens", "the child's fuse"]);
    for row in &table.rows {
        let (fuse, intensity) = paused(charge(&row.name));
        assert_eq!(row.cell("the child's fuse"), fuse, "{}", row.name);
        assert_eq!(row.cell("the intensity"), intensity, "{}", row.name);
    }
}

fn used(handle: &SupervisorHandle) -> (String, String) {
    let x = handle.child_state("n/x").unwrap();
    let fuse = match x.settings.fuse {
        Some(_) => x.fuse.map_or(0, |fuse| fuse.used).to_string(),
        None => "none".to_owned(),
    };
    let n = handle.child_state("n").unwrap().supervisor.unwrap();
    (fuse, n.intensity.used.to_string())
}

/// Has it happen to a child, and says what was charged.
async fn charge(what: &str) -> (String, String) {
    let (board, puppet) = (Switchboard::new(), Puppet::default());
    let (what, no_fuse) = match what.strip_suffix(", without a fuse") {
        Some(what) => (what, true),
        None => (what, false),
    };
    let x = |x: ChildSpec| match no_fuse {
        true => x.no_fuse().backoff(None),
        false => x.fuse(3, MINUTE).backoff(None),
    };
    let x = match what {
        "its fuse blows: quarantine" => x(puppet.child("x")).fuse(0, MINUTE),
        "its fuse blows: stop" => x(puppet.child("x"))
            .fuse(0, MINUTE)
            .on_fuse_blown(OnFuseBlown::Stop),
        "a later start fails, in a group" => x(board.child("x")),
        _ => x(puppet.child("x")),
    };
    let n = match what {
        "it fails, in a group"
        | "a sibling fails, in a group"
        | "a later start fails, in a group" => SupervisorSpec::one_for_all("n"),
        _ => SupervisorSpec::one_for_one("n"),
    };
    let n = n.child(board.child("far").no_fuse().backoff(None)).child(x);
    let handle = start(SupervisorSpec::one_for_one("t").supervisor(n)).await;
    let by = by();
    match what {
        "it fails" | "it fails, in a group" => {
            puppet.order(Order::Fail);
            running(&handle, "n/x", 2).await;
        }
        "a sibling fails, in a group" => {
            board.fail("far");
            running(&handle, "n/x", 2).await;
        }
        "a later start fails, in a group" => {
            // The group restart, then one retry.
            board.refuse("x", 1);
            board.fail("far");
            running(&handle, "n/x", 3).await;
        }
        "its fuse blows: quarantine" => {
            puppet.order(Order::Fail);
            comes_to(&handle, "n/x", "quarantined").await;
        }
        "its fuse blows: stop" => {
            puppet.order(Order::Fail);
            comes_to(&handle, "n/x", "failed").await;
        }
        "it fails fatally" => {
            puppet.order(Order::Fatal);
            comes_to(&handle, "n/x", "failed").await;
        }
        "it is restarted by hand" => {
            within(handle.restart_child("n/x", &by)).await.unwrap();
            running(&handle, "n/x", 2).await;
        }
        "it is paused and resumed" => {
            within(handle.pause_child("n/x", &by)).await.unwrap();
            within(handle.resume_child("n/x", &by)).await.unwrap();
            running(&handle, "n/x", 2).await;
        }
        other => panic!("what is {other:?}?"),
    }
    let used = used(&handle);
    assert!(shut_down(&handle).await.clean);
    used
}
