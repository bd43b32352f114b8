use std::{fmt, sync::Arc, time::Duration};

use super::{Cause, Ending, Finding, LifeSummary, Next, RunSummary, witness::fate};
use crate::spec::SupervisorPath;

impl fmt::Display for RunSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.lives.is_empty() {
            f.write_str("no events")?;
        }
        for (nth, life) in self.lives.iter().enumerate() {
            if nth > 0 {
                f.write_str("\n\n")?;
            }
            if self.lives.len() > 1 {
                writeln!(f, "life {} of {}", nth + 1, self.lives.len())?;
            }
            write!(f, "{life}")?;
        }
        for skipped in &self.skipped {
            write!(f, "\n{skipped}")?;
        }
        Ok(())
    }
}

impl fmt::Display for LifeSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.findings.first() {
            None => "all is well".to_owned(),
            Some(worst) => headline(worst),
        };
        writeln!(f, "{verdict}; {}", Ended(&self.ending))?;
        write!(
            f,
            "from {} to {}, up {}, {} events, {} failed runs, {} restarts",
            humantime::format_rfc3339_seconds(self.from),
            humantime::format_rfc3339_seconds(self.to),
            Time(self.uptime),
            self.events,
            self.failures,
            self.restarts,
        )?;
        if self.missed > 0 {
            write!(
                f,
                "\n{} events are not known: what they would tell is missing here",
                self.missed
            )?;
        }
        for finding in &self.findings {
            write!(f, "\n- {finding}")?;
        }
        Ok(())
    }
}

/// The worst in a few words.
fn headline(finding: &Finding) -> String {
    match finding {
        Finding::LeftAlive { paths } => format!("{} was left alive", list(paths)),
        Finding::GaveUp { path, .. } => format!("{path} gave up"),
        Finding::Quarantined { path, .. } => format!("{path} is in quarantine"),
        Finding::Down { path, .. } => format!("{path} is down"),
        Finding::Stuck { path, .. } => format!("{path} is stuck"),
        Finding::AbortedInShutdown { paths } => format!("{} had to be aborted", list(paths)),
        Finding::GroupRestarts { path, .. } => {
            format!("{path} restarts its children again and again")
        }
        Finding::Failing { path, .. } => format!("{path} fails again and again"),
        Finding::Paused { path, .. } => format!("{path} is paused"),
        Finding::Unrecorded { file, .. } => format!("{file} could not be written"),
    }
}

struct Ended<'a>(&'a Ending);

impl fmt::Display for Ended<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ending::Running => f.write_str("the tree runs"),
            Ending::Open => {
                f.write_str("the record ends in the middle: the process was killed, or still runs")
            }
            Ending::ShuttingDown => f.write_str("the record ends while the tree shuts down"),
            Ending::ShutDown { clean, by } => {
                f.write_str(if *clean {
                    "shut down clean"
                } else {
                    "shut down, not clean"
                })?;
                match by {
                    Some(by) => write!(f, " (by {by})"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeftAlive { paths } => {
                write!(f, "{} could not be ended and was left alive", list(paths))
            }
            Self::GaveUp {
                path,
                at,
                policy,
                reason,
                cause,
            } => {
                let fate = fate(path, *policy);
                write!(f, "{path} gave up at {}, {fate}: {reason}", Time(*at))?;
                told(f, "; it followed", cause.as_ref())
            }
            Self::Quarantined {
                path,
                at,
                reason,
                failures,
                cause,
                next,
            } => {
                write!(f, "{path} is in quarantine since {}: {reason}", Time(*at))?;
                if *failures > 0 {
                    write!(f, "; {failures} of its runs failed")?;
                }
                told(f, ", last", cause.as_ref())?;
                write!(f, "; {next}")
            }
            Self::Down { path, at, cause } => {
                write!(f, "{path} is down since {}", Time(*at))?;
                told(f, ":", cause.as_ref())?;
                f.write_str("; nothing starts it again by itself")
            }
            Self::Stuck {
                path,
                generation,
                at,
                lasts,
            } => write!(
                f,
                "{path} run {generation} blocks its thread since {}, for {} at least; nothing but itself ends that",
                Time(whole(*at).saturating_sub(whole(*lasts))),
                Time(*lasts)
            ),
            Self::AbortedInShutdown { paths } => write!(
                f,
                "{} did not end within the grace and had to be aborted in the shutdown",
                list(paths)
            ),
            Self::GroupRestarts {
                path,
                times,
                within,
                after,
            } => {
                write!(
                    f,
                    "{path} restarted its children together {times} times within {}, after failures of",
                    Time(*within)
                )?;
                for (nth, (path, times)) in after.iter().enumerate() {
                    let comma = if nth > 0 { "," } else { "" };
                    write!(f, "{comma} {path} ({times})")?;
                }
                Ok(())
            }
            Self::Failing {
                path,
                failures,
                cause,
                at,
                next,
            } => {
                write!(f, "{path} failed {failures} times since {}", Time(*at))?;
                told(f, ", last", cause.as_ref())?;
                write!(f, "; {next}")
            }
            Self::Paused { path, at, by } => {
                write!(f, "{path} is paused since {}", Time(*at))?;
                if let Some(by) = by {
                    write!(f, " (by {by})")?;
                }
                f.write_str("; it stays so until somebody resumes it")
            }
            Self::Unrecorded { file, error, over } => {
                let again = if *over { "; it works again" } else { "" };
                write!(f, "{file} could not be written: {error}{again}")
            }
        }
    }
}

impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Runs => f.write_str("it runs again"),
            Self::RunsIn { remaining } if remaining.is_zero() => {
                f.write_str("it is about to run again")
            }
            Self::RunsIn { remaining } => write!(f, "it runs again in {}", Time(*remaining)),
            Self::Nothing => f.write_str("it stays so until somebody resumes it"),
            Self::Gone => f.write_str("the tree has ended since"),
        }
    }
}

fn told(f: &mut fmt::Formatter<'_>, how: &str, cause: Option<&Cause>) -> fmt::Result {
    let Some(cause) = cause else {
        return Ok(());
    };
    write!(
        f,
        "{how} {} run {} {}",
        cause.path, cause.generation, cause.exit
    )?;
    match &cause.message {
        Some(message) => write!(f, ": {message}"),
        None => Ok(()),
    }
}

fn list(paths: &[SupervisorPath]) -> Arc<str> {
    let paths: Vec<_> = paths.iter().map(SupervisorPath::as_str).collect();
    paths.join(", ").into()
}

/// A time as people say it: no more digits than matter.
struct Time(Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = match self.0 {
            time if time < Duration::from_secs(10) => whole(time),
            time => Duration::from_secs(time.as_secs()),
        };
        write!(f, "{}", humantime::format_duration(whole))
    }
}

/// In milliseconds, as JSON has it: both are told alike.
fn whole(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
