//! The JSON of every kind of event: others read it, and files of it outlive versions.

use std::{collections::BTreeSet, time::Duration};

use rust_supervisor::{
    ChildShutdownStatus, EscalationPolicy, EventKind, FuseLimit, LagLevel, LifecycleEvent,
    RestartAction, RestartDecision, RestartType, ShutdownStage, StopCause, SupervisionStrategy,
    SupervisorEvent, TaskExit, TreeEvent,
    layers::{
        context::HoldReason,
        policy::{BackoffDelay, FuseReading},
    },
    ms, secs,
};
use serde_json::{Value, json};

fn fuse() -> FuseReading {
    FuseReading {
        used: 4,
        limit: FuseLimit {
            failures: 3,
            window: secs(60),
        },
        blown: true,
    }
}

fn decision(action: RestartAction) -> LifecycleEvent {
    LifecycleEvent::RestartDecided {
        decision: RestartDecision {
            action,
            exit: TaskExit::Failed,
            restart: RestartType::Permanent,
            fatal: false,
            fuse: Some(fuse()),
            backoff: Some(BackoffDelay {
                before_jitter: ms(100),
                after_jitter: ms(110),
            }),
        },
    }
}

/// One of each kind, with what stands in JSON.
fn shapes() -> Vec<(EventKind, Value)> {
    let of_run: Vec<(LifecycleEvent, Value)> = vec![
        (LifecycleEvent::Starting, json!({"type": "starting"})),
        (LifecycleEvent::Ready, json!({"type": "ready"})),
        (
            LifecycleEvent::Exited {
                exit: TaskExit::TimedOut,
                message: Some("too late".into()),
            },
            json!({"type": "exited", "exit": "timed_out", "message": "too late"}),
        ),
        (
            decision(RestartAction::Quarantine {
                release_after: Some(secs(30)),
            }),
            json!({"type": "restart_decided", "decision": {
                "action": "quarantine", "release_after_ms": 30000, "exit": "failed",
                "restart": "permanent", "fatal": false,
                "fuse": {"used": 4, "limit": {"failures": 3, "window_ms": 60000}, "blown": true},
                "backoff": {"before_jitter_ms": 100, "after_jitter_ms": 110},
            }}),
        ),
        (
            LifecycleEvent::BackingOff { delay: ms(110) },
            json!({"type": "backing_off", "delay_ms": 110}),
        ),
        (
            LifecycleEvent::FuseCharged { fuse: fuse() },
            json!({"type": "fuse_charged", "used": 4, "limit": {"failures": 3, "window_ms": 60000}, "blown": true}),
        ),
        (
            LifecycleEvent::FuseBlown { fuse: fuse() },
            json!({"type": "fuse_blown", "used": 4, "limit": {"failures": 3, "window_ms": 60000}, "blown": true}),
        ),
        (
            LifecycleEvent::Quarantined {
                reason: "fuse blown".into(),
                release_after: None,
            },
            json!({"type": "quarantined", "reason": "fuse blown", "release_after_ms": null}),
        ),
        (
            LifecycleEvent::Released {
                from: HoldReason::Quarantined,
            },
            json!({"type": "released", "from": "quarantined"}),
        ),
        (LifecycleEvent::Paused, json!({"type": "paused"})),
        (LifecycleEvent::Resumed, json!({"type": "resumed"})),
        (
            LifecycleEvent::Unhealthy {
                reason: "no sign of life".into(),
            },
            json!({"type": "unhealthy", "reason": "no sign of life"}),
        ),
        (
            LifecycleEvent::Stuck { lasts: secs(2) },
            json!({"type": "stuck", "lasts_ms": 2000}),
        ),
    ];
    let of_tree: Vec<(TreeEvent, Value)> = vec![
        (TreeEvent::ChildAdded, json!({"type": "child_added"})),
        (TreeEvent::Removed, json!({"type": "removed"})),
        (
            TreeEvent::GroupRestartBegun {
                strategy: SupervisionStrategy::RestForOne,
                failed: "storage/db".into(),
                members: 3,
                delay: ms(5),
            },
            json!({"type": "group_restart_begun", "strategy": "RestForOne", "failed": "/storage/db", "members": 3, "delay_ms": 5}),
        ),
        (
            TreeEvent::GroupRestartEnded { started: 2 },
            json!({"type": "group_restart_ended", "started": 2}),
        ),
        (
            TreeEvent::IntensityExceeded {
                restarts: 30,
                period: secs(60),
            },
            json!({"type": "intensity_exceeded", "restarts": 30, "period_ms": 60000}),
        ),
        (
            TreeEvent::Escalated {
                policy: EscalationPolicy::ShutdownTree,
                reason: "too much".into(),
            },
            json!({"type": "escalated", "policy": "shutdown_tree", "reason": "too much"}),
        ),
        (
            TreeEvent::CommandAccepted {
                command: "pause_child".into(),
                requested_by: "alice".into(),
                reason: "maintenance".into(),
            },
            json!({"type": "command_accepted", "command": "pause_child", "requested_by": "alice", "reason": "maintenance"}),
        ),
        (
            TreeEvent::CommandRefused {
                command: "pause_child".into(),
                requested_by: "alice".into(),
                reason: "maintenance".into(),
                error: "no child at /x".into(),
            },
            json!({"type": "command_refused", "command": "pause_child", "requested_by": "alice", "reason": "maintenance", "error": "no child at /x"}),
        ),
        (
            TreeEvent::CommandCompleted {
                command: "pause_child".into(),
                outcome: "done".into(),
            },
            json!({"type": "command_completed", "command": "pause_child", "outcome": "done"}),
        ),
        (
            TreeEvent::ShutdownStageEntered {
                stage: ShutdownStage::GracefulDrain,
            },
            json!({"type": "shutdown_stage_entered", "stage": "graceful_drain"}),
        ),
        (
            TreeEvent::SubscriberLagged {
                subscriber: "pager".into(),
                level: LagLevel::CutOff,
                behind: 250,
                capacity: 256,
            },
            json!({"type": "subscriber_lagged", "subscriber": "pager", "level": "cut_off", "behind": 250, "capacity": 256}),
        ),
        (
            TreeEvent::JournalFailed {
                path: "/j".into(),
                error: "full".into(),
            },
            json!({"type": "journal_failed", "path": "/j", "error": "full"}),
        ),
        (
            TreeEvent::JournalRecovered { path: "/j".into() },
            json!({"type": "journal_recovered", "path": "/j"}),
        ),
        (
            TreeEvent::AuditFailed {
                path: "/a".into(),
                error: "full".into(),
            },
            json!({"type": "audit_failed", "path": "/a", "error": "full"}),
        ),
        (
            TreeEvent::AuditRecovered {
                path: "/a".into(),
                lost: 1,
            },
            json!({"type": "audit_recovered", "path": "/a", "lost": 1}),
        ),
        (
            TreeEvent::ChildShutdown {
                status: ChildShutdownStatus::AbortFailed,
            },
            json!({"type": "child_shutdown", "status": "abort_failed"}),
        ),
        (
            TreeEvent::ShutdownCompleted { clean: true },
            json!({"type": "shutdown_completed", "clean": true}),
        ),
    ];
    let of_run = of_run.into_iter().map(|(kind, json)| (kind.into(), json));
    let of_tree = of_tree.into_iter().map(|(kind, json)| (kind.into(), json));
    of_run.chain(of_tree).collect()
}

fn whole(kind: EventKind) -> SupervisorEvent {
    SupervisorEvent {
        schema: SupervisorEvent::SCHEMA,
        epoch: "1-2".into(),
        sequence: 7,
        at: std::time::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456),
        uptime: ms(1500),
        path: "storage/db".into(),
        instance: 3,
        generation: 2,
        attempt: 1,
        correlation_id: Some(6),
        kind,
    }
}

#[test]
fn every_kind_is_as_it_was_and_comes_back_as_it_went() {
    for (kind, expected) in shapes() {
        let event = whole(kind);
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(
            json,
            json!({
                "schema": 1, "epoch": "1-2", "sequence": 7, "at": "2023-11-14T22:13:20.123456Z",
                "uptime_ms": 1500, "path": "/storage/db", "instance": 3, "generation": 2, "attempt": 1,
                "correlation_id": 6, "kind": expected,
            })
        );
        assert_eq!(event.kind.name(), json["kind"]["type"]);
        assert_eq!(
            serde_json::from_value::<SupervisorEvent>(json).unwrap(),
            event
        );
    }
}

#[test]
fn every_kind_fits_the_schema_and_the_schema_knows_no_other() {
    let schema: Value = serde_json::from_str(&SupervisorEvent::json_schema()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut there = BTreeSet::new();
    for (kind, _) in shapes() {
        there.insert(kind.name().to_owned());
        let json = serde_json::to_value(whole(kind)).unwrap();
        assert!(validator.is_valid(&json), "{json}");
        let mut spoilt = json.clone();
        spoilt["kind"]["type"] = json!("something_else");
        assert!(!validator.is_valid(&spoilt));
    }
    let mut known = BTreeSet::new();
    for kinds in ["LifecycleEvent", "TreeEvent"] {
        for kind in schema["$defs"][kinds]["oneOf"].as_array().unwrap() {
            let name = kind["properties"]["type"]["const"].as_str();
            known.insert(name.unwrap().to_owned());
        }
    }
    assert_eq!(there, known);
}

#[test]
fn a_stop_that_is_decided_says_its_cause() {
    for cause in StopCause::ALL {
        let event = whole(decision(RestartAction::Stop { cause }).into());
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(json["kind"]["decision"]["action"], "stop");
        assert_eq!(
            serde_json::from_value::<SupervisorEvent>(json).unwrap(),
            event
        );
    }
}
