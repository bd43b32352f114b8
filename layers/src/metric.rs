//! What metrics there are, and how they are emitted.

use std::{fmt, ptr, sync::Arc};

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, NoopRecorder, Recorder,
    SharedString, Unit,
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

/// Whether what is counted is kept by anybody: until a program installs a recorder, the facade has one that keeps
/// nothing, and what that is told need not be looked up.
pub fn is_recorded() -> bool {
    metrics::with_recorder(|recorder| !keeps_nothing(recorder))
}

/// Of the type of the facade's own recorder, which does not say so itself: what is left to compare is the table
/// of its functions. Should the compiler make several of those, the recorder is taken for one that keeps
/// something, which costs time and nothing else.
fn keeps_nothing(recorder: &dyn Recorder) -> bool {
    let recorder = ptr::from_ref(recorder);
    let noop: *const dyn Recorder = &NoopRecorder;
    let apart = recorder.addr().wrapping_sub(noop.addr());
    #[expect(
        ambiguous_wide_pointer_comparisons,
        reason = "both have one address: what is compared is what makes such pointers wide"
    )]
    let same = noop.wrapping_byte_add(apart) == recorder;
    same
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Without a state of its own, as the facade's.
    struct Forgetful;

    impl Recorder for Forgetful {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            Counter::noop()
        }

        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[test]
    fn what_somebody_installed_is_never_taken_for_nothing() {
        assert!(metrics::with_local_recorder(&Forgetful, is_recorded));
        assert!(metrics::with_local_recorder(
            &Box::new(Forgetful),
            is_recorded
        ));
        // Unless it is optimised the compiler does make several tables.
        assert!(!is_recorded() || cfg!(debug_assertions));
    }
}
