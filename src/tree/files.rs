use std::path::Path;

use super::Tree;
use crate::{
    SupervisorError,
    audit::{AuditLog, Backend, Writing},
    event::Copying,
    spec::TreeSettings,
};

/// What is written while a tree lives; open before anything of it runs.
pub(super) struct Files {
    journal: Option<Copying>,
    audit: Option<Writing>,
}

impl Files {
    pub(super) fn open(settings: &TreeSettings, tree: &Tree) -> Result<Self, SupervisorError> {
        let unavailable =
            |what, path: &Path, error: std::io::Error| SupervisorError::FileUnavailable {
                what,
                path: path.to_owned(),
                reason: error.to_string(),
            };
        let journal = match &settings.journal_file {
            Some(file) => Some(
                Copying::open(file, tree.journal.clone())
                    .map_err(|error| unavailable("journal file", &file.path, error))?,
            ),
            None => None,
        };
        let backend = settings.audit.as_ref().map(|audit| &audit.backend);
        let queue = tree.audit.as_ref().and_then(AuditLog::queue);
        let audit = match (backend, queue) {
            (Some(Backend::File { path, rotation }), Some(queue)) => Some(
                Writing::open(queue, path, *rotation)
                    .map_err(|error| unavailable("audit file", path, error))?,
            ),
            _ => None,
        };
        Ok(Self { journal, audit })
    }

    /// Writes until the tree has ended and everything is in its file.
    pub(super) async fn keep(self, tree: &Tree) {
        let journal = async {
            if let Some(journal) = self.journal {
                journal.run(tree).await;
            }
        };
        let audit = async {
            if let Some(audit) = self.audit {
                audit.run(tree).await;
            }
        };
        tokio::join!(journal, audit);
    }
}
