use std::path::PathBuf;

use super::Findings;
use crate::config::{
    ProblemKind,
    configurable::{
        AuditBackend, AuditSection, BackoffCurve, BackpressureSection, DashboardSection,
        ObservabilitySection, PolicySection, RotationSection,
    },
};
use crate::spec::OnFuseBlown;

/// A policy in effect, under the section that says what differs; `release` is when that one
/// ends a quarantine.
pub(super) fn policy(
    findings: &mut Findings,
    section: &str,
    effective: &PolicySection,
    release: Option<u64>,
) {
    let grows = !matches!(
        effective.backoff,
        BackoffCurve::None | BackoffCurve::Constant
    );
    if grows && effective.initial_backoff_ms > effective.max_backoff_ms {
        findings
            .invalid(
                format!("{section}.initial_backoff_ms"),
                effective.initial_backoff_ms,
                format!(
                    "the first wait cannot be longer than the longest, max_backoff_ms: {}",
                    effective.max_backoff_ms
                ),
            )
            .relating(&[
                "policy.max_backoff_ms",
                "policy.initial_backoff_ms",
                "policy.backoff",
            ]);
    }
    if effective.heartbeat_interval_ms >= effective.stale_after_ms {
        findings
            .invalid(
                format!("{section}.heartbeat_interval_ms"),
                effective.heartbeat_interval_ms,
                format!(
                    "a sign of life has to come sooner than stale_after_ms: {}",
                    effective.stale_after_ms
                ),
            )
            .relating(&["policy.stale_after_ms", "policy.heartbeat_interval_ms"]);
    }
    if let Some(release) = release
        && effective.on_fuse_blown != OnFuseBlown::Quarantine
    {
        findings
            .invalid(
                format!("{section}.quarantine_release_after_ms"),
                release,
                "only with on_fuse_blown: quarantine is there anything to release",
            )
            .relating(&["policy.on_fuse_blown"]);
    }
}

pub(super) fn observability(findings: &mut Findings, section: &ObservabilitySection) {
    let file = &section.journal_file;
    rotation(
        findings,
        "observability.journal_file.rotation",
        &file.rotation,
    );
    if file.path.is_none() && file.rotation != RotationSection::default() {
        missing(
            findings,
            "observability.journal_file.path",
            "without a file there is nothing to rotate",
        );
    }
}

pub(super) fn audit(findings: &mut Findings, section: &AuditSection) {
    rotation(findings, "audit.rotation", &section.rotation);
    match (section.backend, &section.file_path) {
        (AuditBackend::File, None) => missing(
            findings,
            "audit.file_path",
            "the audit needs to know its file",
        ),
        (AuditBackend::Memory, Some(path)) => {
            findings
                .invalid(
                    "audit.file_path",
                    path.to_string_lossy().as_ref(),
                    "only with backend: file is there one",
                )
                .relating(&["audit.backend"]);
        }
        (AuditBackend::Memory, None) if section.rotation != RotationSection::default() => missing(
            findings,
            "audit.file_path",
            "without a file there is nothing to rotate",
        ),
        _ => {}
    }
}

fn rotation(findings: &mut Findings, key: &str, section: &RotationSection) {
    if section.max_total_bytes < section.max_file_bytes {
        findings
            .invalid(
                format!("{key}.max_total_bytes"),
                section.max_total_bytes,
                format!(
                    "all files together cannot hold less than one, max_file_bytes: {}",
                    section.max_file_bytes
                ),
            )
            .relating(&["rotation.max_file_bytes"]);
    }
}

pub(super) fn backpressure(findings: &mut Findings, section: &BackpressureSection) {
    if section.warn_threshold_pct >= section.critical_threshold_pct {
        findings
            .invalid(
                "backpressure.warn_threshold_pct",
                section.warn_threshold_pct,
                format!(
                    "the warning has to come before critical_threshold_pct: {}",
                    section.critical_threshold_pct
                ),
            )
            .relating(&["backpressure.critical_threshold_pct"]);
    }
}

pub(super) fn dashboard(findings: &mut Findings, section: &DashboardSection) {
    const RELAY: &str = "dashboard.registration.relay_registration_path";
    let registration = &section.registration;
    if section.enabled {
        findings.invalid("dashboard.enabled", true, NOT_SERVED);
        if section.target_id.is_none() {
            missing(
                findings,
                "dashboard.target_id",
                "the dashboard needs a name for this process",
            );
        }
        if section.path.is_none() {
            missing(
                findings,
                "dashboard.path",
                "the socket needs an absolute path",
            );
        }
    }
    if registration.enabled && registration.relay_registration_path.is_none() {
        missing(
            findings,
            RELAY,
            "registration needs the relay's socket, as an absolute path",
        );
    }
    absolute(findings, "dashboard.path", section.path.as_ref());
    absolute(
        findings,
        RELAY,
        registration.relay_registration_path.as_ref(),
    );
    for (key, text) in [
        ("dashboard.target_id", &section.target_id),
        (
            "dashboard.registration.display_name",
            &registration.display_name,
        ),
    ] {
        if text.as_ref().is_some_and(|text| text.trim().is_empty()) {
            findings.invalid(key, "", "it cannot be blank");
        }
    }
    let reason = match section.mode() {
        None => Some("expected three octal digits in quotes, like \"0600\""),
        Some(mode) if mode & 0o002 != 0 => {
            Some("the socket must never be writable by everybody, like \"0600\" or \"0660\"")
        }
        Some(_) => None,
    };
    if let Some(reason) = reason {
        let permissions = section.permissions.as_str();
        findings.invalid("dashboard.permissions", permissions, reason);
    }
    if registration.registration_heartbeat_interval_seconds >= registration.lease_seconds {
        findings
            .invalid(
                "dashboard.registration.registration_heartbeat_interval_seconds",
                registration.registration_heartbeat_interval_seconds,
                format!(
                    "a lease has to be renewed before it ends, lease_seconds: {}",
                    registration.lease_seconds
                ),
            )
            .relating(&["dashboard.registration.lease_seconds"]);
    }
}

#[cfg(unix)]
const NOT_SERVED: &str = "this version cannot serve a dashboard yet; set it to false: events, metrics and \
                          the journal remain";
#[cfg(not(unix))]
const NOT_SERVED: &str = "a dashboard needs Unix domain sockets, which this platform does not have; set it \
                          to false: events, metrics and the journal remain";

fn missing(findings: &mut Findings, key: &str, expected: &str) {
    let expected = expected.to_owned();
    findings
        .note(key, ProblemKind::Missing { expected })
        .relating(&[key]);
}

fn absolute(findings: &mut Findings, key: &str, path: Option<&PathBuf>) {
    // Not `is_absolute`: these are Unix paths on every platform.
    if let Some(path) = path
        && !path.as_os_str().as_encoded_bytes().starts_with(b"/")
    {
        findings.invalid(
            key,
            path.display().to_string(),
            "the path has to be absolute",
        );
    }
}
