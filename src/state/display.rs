use std::fmt;

use super::{NodeState, TreeState};

impl fmt::Display for TreeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let up = self.uptime.as_secs();
        write!(
            f,
            "{} up {}:{:02}:{:02}",
            self.name,
            up / 3600,
            up / 60 % 60,
            up % 60
        )?;
        if let Some(supervisor) = &self.root.supervisor {
            write!(f, ", {:?}", supervisor.strategy)?;
        }
        branches(f, &self.root.children, "")
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, self)?;
        branches(f, &self.children, "")
    }
}

fn branches(f: &mut fmt::Formatter<'_>, children: &[NodeState], indent: &str) -> fmt::Result {
    for (at, child) in children.iter().enumerate() {
        let last = at + 1 == children.len();
        write!(f, "\n{indent}{}", if last { "└─ " } else { "├─ " })?;
        line(f, child)?;
        branches(
            f,
            &child.children,
            &format!("{indent}{}", if last { "   " } else { "│  " }),
        )?;
    }
    Ok(())
}

/// Name, status, run, and what somebody needs to know who looks at three in the morning.
fn line(f: &mut fmt::Formatter<'_>, node: &NodeState) -> fmt::Result {
    write!(f, "{:<14} {}", node.id, node.status)?;
    if let Some(stuck) = node.stuck {
        write!(f, ", stuck for {stuck:.1?}")?;
    }
    if let Some(supervisor) = &node.supervisor {
        write!(f, "  {:?}", supervisor.strategy)?;
        if supervisor.group_restarts > 0 {
            write!(f, ", {} group restarts", supervisor.group_restarts)?;
        }
    }
    if node.restarts > 0 {
        write!(f, "  run {}", node.generation)?;
        let exits: Vec<String> = node
            .exits
            .iter()
            .map(|(exit, count)| format!("{count} {exit}"))
            .collect();
        if !exits.is_empty() {
            write!(f, " ({})", exits.join(", "))?;
        }
    }
    if let Some(fuse) = node.fuse.filter(|fuse| fuse.used > 0) {
        write!(f, "  fuse {} of {}", fuse.used, fuse.limit.failures)?;
    }
    if let Some(last) = &node.last_exit
        && let Some(message) = &last.message
    {
        write!(f, "  last: {message} ({:.0?} ago)", last.ago)?;
    }
    Ok(())
}
