mod administration;
mod restart_types;
mod restarting;
mod significant;
mod start;
mod stop;
mod strategies;

use crate::case::Source;

pub(crate) const SOURCE: Source = Source {
    title: "Erlang/OTP, `supervisor_SUITE`",
    about: "All cases of the suite's `all()` and its groups, of OTP 28. A `simple_one_for_one` supervisor is read as \
            a OneForOne supervisor of dynamic children; `terminate_child` as `pause_child`, `delete_child` as \
            `remove_child`, `intensity` as the intensity of children without a fuse of their own.",
    module: "otp",
    cases: &[
        start::CASES,
        stop::CASES,
        administration::CASES,
        restart_types::CASES,
        strategies::CASES,
        restarting::CASES,
        significant::CASES,
    ],
};
