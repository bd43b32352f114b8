//! What metrics there are, and how they are emitted.

use std::{fmt, sync::Arc};

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, SharedString, Unit,
};

/// A metric as a reader of it knows it: its name, what it counts, and by what.
///
/// Every metric is emitted through its own, so that what is described is what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name, unit and all.
    pub name: &'static str,
    /// How it counts.
    pub kind: MetricKind,
    /// In what, where that is not a mere count.
    pub unit: Option<Unit>,
    /// By what it tells apart.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub help: &'static str,
}

/// How a metric counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Up only.
    Counter,
    /// Up and down.
    Gauge,
    /// Each value by its size.
    Histogram,
}

impl fmt::Display for MetricKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

static METADATA: Metadata<'static> =
    Metadata::new("rust_supervisor", Level::INFO, Some(module_path!()));

impl Metric {
    /// A counter of these labels' values, described to the recorder.
    pub fn counter<const N: usize>(&self, values: [SharedString; N]) -> Counter {
        self.counter_of(&mut self.labels(values))
    }

    /// A gauge of these labels' values, described to the recorder.
    pub fn gauge<const N: usize>(&self, values: [SharedString; N]) -> Gauge {
        self.gauge_of(&mut self.labels(values))
    }

    /// A histogram of these labels' values, described to the recorder.
    pub fn histogram<const N: usize>(&self, values: [SharedString; N]) -> Histogram {
        self.histogram_of(&mut self.labels(values))
    }

    pub(crate) fn counter_of(&self, labels: &mut Labels) -> Counter {
        self.registered(labels, |recorder, key| {
            recorder.describe_counter(KeyName::from(self.name), self.unit, self.help.into());
            recorder.register_counter(key, &METADATA)
        })
    }

    pub(crate) fn gauge_of(&self, labels: &mut Labels) -> Gauge {
        self.registered(labels, |recorder, key| {
            recorder.describe_gauge(KeyName::from(self.name), self.unit, self.help.into());
            recorder.register_gauge(key, &METADATA)
        })
    }

    pub(crate) fn histogram_of(&self, labels: &mut Labels) -> Histogram {
        self.registered(labels, |recorder, key| {
            recorder.describe_histogram(KeyName::from(self.name), self.unit, self.help.into());
            recorder.register_histogram(key, &METADATA)
        })
    }

    fn registered<T>(
        &self,
        labels: &mut Labels,
        register: impl FnOnce(&dyn Recorder, &Key) -> T,
    ) -> T {
        debug_assert!(
            labels
                .0
                .iter()
                .map(Label::key)
                .eq(self.labels.iter().copied()),
            "{}",
            self.name
        );
        let key = Key::from_parts(self.name, std::mem::take(&mut labels.0));
        let registered = metrics::with_recorder(|recorder| register(recorder, &key));
        labels.0 = key.into_parts().1;
        registered
    }

    fn labels<const N: usize>(&self, values: [SharedString; N]) -> Labels {
        debug_assert_eq!(self.labels.len(), N, "{}", self.name);
        let labels = self.labels.iter().zip(values);
        Labels(
            labels
                .map(|(name, value)| Label::new(*name, value))
                .collect(),
        )
    }
}

/// What several metrics of one thing are told apart by: whoever looks them all up at once makes it once.
pub(crate) struct Labels(Vec<Label>);

impl Labels {
    /// Of a child, with room for one label more.
    pub(crate) fn of_child(path: &Arc<str>) -> Self {
        let mut labels = Vec::with_capacity(2);
        labels.push(Label::new("child", child_label(path)));
        Self(labels)
    }

    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        let value = SharedString::const_str(value);
        self.0.push(Label::new(name, value));
        self
    }
}

/// A child's path as a label: a replica of a pool is `/settle/*` whatever its index, so that there are no more
/// labels than children declared. `/settle` is the pool itself.
pub fn child_label(path: &Arc<str>) -> SharedString {
    match path.rsplit_once('/') {
        Some((pool, index))
            if !pool.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            format!("{pool}/*").into()
        }
        _ => SharedString::from_shared(path.clone()),
    }
}
