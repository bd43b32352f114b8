//! What metrics there are, and how they are emitted.

use std::{fmt, sync::Arc};

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, SharedString, Unit,
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
        metrics::with_recorder(|recorder| {
            recorder.describe_counter(KeyName::from(self.name), self.unit, self.help.into());
            recorder.register_counter(&self.key(values), &METADATA)
        })
    }

    /// A gauge of these labels' values, described to the recorder.
    pub fn gauge<const N: usize>(&self, values: [SharedString; N]) -> Gauge {
        metrics::with_recorder(|recorder| {
            recorder.describe_gauge(KeyName::from(self.name), self.unit, self.help.into());
            recorder.register_gauge(&self.key(values), &METADATA)
        })
    }

    /// A histogram of these labels' values, described to the recorder.
    pub fn histogram<const N: usize>(&self, values: [SharedString; N]) -> Histogram {
        metrics::with_recorder(|recorder| {
            recorder.describe_histogram(KeyName::from(self.name), self.unit, self.help.into());
            recorder.register_histogram(&self.key(values), &METADATA)
        })
    }

    fn key<const N: usize>(&self, values: [SharedString; N]) -> Key {
        debug_assert_eq!(self.labels.len(), N, "{}", self.name);
        let labels = self.labels.iter().zip(values);
        let labels: Vec<_> = labels
            .map(|(name, value)| Label::new(*name, value))
            .collect();
        Key::from_parts(self.name, labels)
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
