//! A metrics recorder and a tracing subscriber that keep what they are told.
#![allow(dead_code, unreachable_pub)] // each test binary uses its own part

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard},
};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata,
    SharedString, Unit,
};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span,
};

/// A recorder that keeps every value under `name{label=value}`.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<BTreeMap<String, Vec<f64>>>>);

struct Handle(Recorder, String);

impl Recorder {
    pub fn kept(&self) -> MutexGuard<'_, BTreeMap<String, Vec<f64>>> {
        self.0.lock().unwrap()
    }

    pub fn total(&self, metric: &str) -> f64 {
        self.kept()
            .get(metric)
            .map_or(0.0, |values| values.iter().sum())
    }

    /// What was counted of exits, by label.
    pub fn exits(&self) -> Vec<(String, f64)> {
        let kept = self.kept();
        let exits = kept
            .iter()
            .filter(|(name, _)| name.starts_with("supervisor_child_exits"));
        exits
            .map(|(name, values)| (name.clone(), values.iter().sum()))
            .collect()
    }

    fn handle(&self, key: &Key) -> Arc<Handle> {
        let labels: Vec<_> = key
            .labels()
            .map(|l| format!("{}={}", l.key(), l.value()))
            .collect();
        let metric = format!("{}{{{}}}", key.name(), labels.join(","));
        Arc::new(Handle(self.clone(), metric))
    }
}

impl Handle {
    fn keep(&self, value: f64) {
        self.0.kept().entry(self.1.clone()).or_default().push(value);
    }
}

impl CounterFn for Handle {
    fn increment(&self, value: u64) {
        self.keep(value as f64);
    }

    fn absolute(&self, _: u64) {
        panic!("counters only grow")
    }
}

impl GaugeFn for Handle {
    fn increment(&self, value: f64) {
        self.keep(value);
    }

    fn decrement(&self, value: f64) {
        self.keep(-value);
    }

    fn set(&self, _: f64) {
        panic!("whoever else is of that label would be forgotten")
    }
}

impl HistogramFn for Handle {
    fn record(&self, value: f64) {
        self.keep(value);
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.handle(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.handle(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.handle(key))
    }
}

/// A subscriber that writes every event with the span it is in.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<LogState>>);

#[derive(Default)]
struct LogState {
    spans: Vec<String>,
    entered: Vec<u64>,
    lines: Vec<String>,
}

impl Log {
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().lines.clone()
    }

    /// How many there have been.
    pub fn spans(&self) -> usize {
        self.0.lock().unwrap().spans.len()
    }
}

struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "message" => write!(self.0, " {value:?}").unwrap(),
            name => write!(self.0, " {name}={value:?}").unwrap(),
        }
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        let mut words = Words(format!(
            "{} {}",
            span.metadata().target(),
            span.metadata().name()
        ));
        span.record(&mut words);
        let mut state = self.0.lock().unwrap();
        state.spans.push(words.0);
        span::Id::from_u64(state.spans.len() as u64)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut words = Words(event.metadata().level().to_string());
        event.record(&mut words);
        let mut state = self.0.lock().unwrap();
        let span = state
            .entered
            .last()
            .map_or("", |&id| &state.spans[id as usize - 1]);
        let line = format!("[{span}] {}", words.0);
        state.lines.push(line);
    }

    fn enter(&self, span: &span::Id) {
        self.0.lock().unwrap().entered.push(span.into_u64());
    }

    fn exit(&self, span: &span::Id) {
        assert_eq!(
            self.0.lock().unwrap().entered.pop(),
            Some(span.into_u64()),
            "spans nest"
        );
    }
}
