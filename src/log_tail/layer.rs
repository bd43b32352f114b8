use std::{
    fmt,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use super::{
    LogRecord,
    record::Said,
    tail::{Shared, Tail},
};
use crate::sync::lock;

/// What fills a [`LogTail`](super::LogTail).
pub struct LogTailLayer {
    shared: Arc<Shared>,
}

impl LogTailLayer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

/// What a run's span is known by.
struct Run {
    generation: u64,
    attempt: u32,
    tail: Mutex<Arc<Tail>>,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LogTailLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        let metadata = attributes.metadata();
        if metadata.name() != "supervisor.run" || metadata.target() != "rust_supervisor" {
            return;
        }
        let mut fields = RunFields::default();
        attributes.record(&mut fields);
        let run = Run {
            generation: fields.generation,
            attempt: u32::try_from(fields.attempt).unwrap_or(u32::MAX),
            tail: Mutex::new(self.shared.tail(&fields.path)),
        };
        if let Some(span) = ctx.span(id) {
            span.extensions_mut().replace(run);
        }
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let Some(mut scope) = ctx.event_scope(event) else {
            return;
        };
        // The innermost: a nested supervisor's run may be around it.
        let Some((tail, generation, attempt)) = scope.find_map(|span| {
            let extensions = span.extensions();
            let run = extensions.get::<Run>()?;
            let mut tail = lock(&run.tail);
            if tail.is_gone() {
                let path = tail.path.clone();
                *tail = self.shared.tail(&path);
            }
            Some((tail.clone(), run.generation, run.attempt))
        }) else {
            return;
        };
        // With nothing locked: how a field shows itself is somebody else's code.
        let said = Said::by(event, self.shared.bytes);
        let metadata = event.metadata();
        let record = LogRecord {
            sequence: 0,
            at: SystemTime::now(),
            level: metadata.level().as_str().into(),
            target: metadata.target().into(),
            message: said.message,
            fields: said.fields,
            path: tail.path.clone(),
            generation,
            attempt,
            cut: said.cut,
        };
        self.shared.add(&tail, record);
    }
}

#[derive(Default)]
struct RunFields {
    path: String,
    generation: u64,
    attempt: u64,
}

impl Visit for RunFields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "path" {
            self.path = value.to_owned();
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "generation" => self.generation = value,
            "attempt" => self.attempt = value,
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}
