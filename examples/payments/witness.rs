//! What metrics, journal file and audit file tell of the same run: it has to be what the events told.

use std::{collections::BTreeMap, path::Path};

use rust_supervisor::{AuditEntry, AuditFile, BoxError, layers::metric::child_label};
use serde::Serialize;

use crate::counted::Counted;

/// Whether they agree, count for count.
#[derive(Serialize)]
pub struct Witnesses {
    pub metrics: bool,
    pub journal_file: bool,
    pub audit_file: bool,
    /// Events in the journal file, and commands in the audit file, of this life of the process.
    journal_events: u64,
    audited_commands: u64,
}

impl Witnesses {
    pub fn hear(
        counted: &Counted,
        exposition: &str,
        journal: &Path,
        audit: &Path,
        epoch: &str,
    ) -> Result<Self, BoxError> {
        let written = Counted::from_journal(journal, epoch)?;
        let audited = audited(audit, epoch)?;
        Ok(Self {
            metrics: exposed(exposition) == expected(counted),
            journal_file: written == *counted,
            audit_file: audited == counted.commands,
            journal_events: written.events,
            audited_commands: audited.values().sum(),
        })
    }

    pub fn agree(&self) -> bool {
        self.metrics && self.journal_file && self.audit_file
    }
}

/// Commands by name, and whether they were refused.
fn audited(file: &Path, epoch: &str) -> Result<BTreeMap<(String, bool), u64>, BoxError> {
    let mut commands = BTreeMap::new();
    for record in AuditFile::open(file)? {
        let Ok(record) = record? else {
            continue;
        };
        if &*record.epoch != epoch {
            continue;
        }
        let (command, refused) = match record.entry {
            AuditEntry::CommandRefused { command, .. } => (command, true),
            AuditEntry::CommandCompleted { command, .. }
            | AuditEntry::CommandFailed { command, .. } => (command, false),
            _ => continue,
        };
        let key = (command.command.to_string(), refused);
        *commands.entry(key).or_default() += 1;
    }
    Ok(commands)
}

/// The lines that metrics of these counts consist of.
fn expected(counted: &Counted) -> BTreeMap<String, u64> {
    let mut lines = BTreeMap::new();
    let mut add = |line: String, count: u64| *lines.entry(line).or_default() += count;
    for ((path, _), exits) in &counted.exits {
        // The root's lives are no runs of a child.
        if path == "/" {
            continue;
        }
        let child = child_label(&path.as_str().into());
        for (exit, count) in exits {
            let line = format!("supervisor_child_exits_total{{child=\"{child}\",exit=\"{exit}\"}}");
            add(line, *count);
        }
    }
    for (child, count) in counted.restarts.iter().filter(|(child, _)| *child != "/") {
        add(
            format!("supervisor_child_restarts_total{{child=\"{child}\"}}"),
            *count,
        );
    }
    for ((command, refused), count) in &counted.commands {
        let outcome = if *refused { "refused" } else { "carried out" };
        add(format!("{command} {outcome}"), *count);
    }
    lines
}

/// The same of what a scrape shows.
fn exposed(exposition: &str) -> BTreeMap<String, u64> {
    let mut lines = BTreeMap::new();
    for line in exposition.lines() {
        let Some((metric, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let line = match metric.split_once('{') {
            Some(("supervisor_child_exits_total" | "supervisor_child_restarts_total", _)) => {
                metric.to_owned()
            }
            Some(("supervisor_commands_total", labels)) => {
                let value = |name: &str| {
                    let (_, rest) = labels.split_once(&format!("{name}=\""))?;
                    Some(rest.split_once('"')?.0)
                };
                let outcome = match value("outcome") {
                    Some("refused") => "refused",
                    _ => "carried out",
                };
                format!("{} {outcome}", value("command").unwrap_or_default())
            }
            _ => continue,
        };
        *lines.entry(line).or_default() += value.parse::<u64>().unwrap_or_default();
    }
    // What has not happened yet is shown as well.
    lines.retain(|_, count| *count > 0);
    lines
}
