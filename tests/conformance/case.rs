/// One test case of another project, in our words.
pub(crate) struct Case {
    /// What it is called there.
    pub(crate) name: &'static str,
    /// What it asks of a supervisor.
    pub(crate) demand: &'static str,
    pub(crate) answer: Answer,
}

pub(crate) enum Answer {
    /// The test that shows it, from this crate's root.
    Test(&'static str),
    /// Why it does not apply to us.
    Explained(&'static str),
}

impl Case {
    pub(crate) const fn tested(
        name: &'static str,
        demand: &'static str,
        test: &'static str,
    ) -> Self {
        Self {
            name,
            demand,
            answer: Answer::Test(test),
        }
    }

    pub(crate) const fn explained(
        name: &'static str,
        demand: &'static str,
        why: &'static str,
    ) -> Self {
        Self {
            name,
            demand,
            answer: Answer::Explained(why),
        }
    }
}

/// A row with its test, of the case's own name unless another is given. Without that test it does not
/// compile; that the test is run is checked with the list.
macro_rules! case {
    ($test:ident, $demand:expr $(,)?) => {
        case!(stringify!($test), $test, $demand)
    };
    ($name:expr, $test:ident, $demand:expr $(,)?) => {{
        const _: fn() = $test;
        $crate::case::Case::tested(
            $name,
            $demand,
            concat!(module_path!(), "::", stringify!($test)),
        )
    }};
}

pub(crate) use case;

/// A project whose tests were read.
pub(crate) struct Source {
    pub(crate) title: &'static str,
    /// What of it was read, and how its notions map to ours.
    pub(crate) about: &'static str,
    /// The module its tests are in.
    pub(crate) module: &'static str,
    pub(crate) cases: &'static [&'static [Case]],
}

impl Source {
    pub(crate) fn cases(&self) -> impl Iterator<Item = &'static Case> {
        self.cases.iter().copied().flatten()
    }
}
