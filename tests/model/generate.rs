//! Random plans, which proptest knows how to make smaller.

use proptest::{option, prelude::*, sample::select, strategy::Union};
use rust_supervisor::{
    AutoShutdown, EscalationPolicy, RestartType, ShutdownOrder, SupervisionStrategy,
};

use super::plan::{
    Blown, Curve, Delays, End, Fuse, Limit, Line, Member, Order, Plan, Run, Scope, Stop, Worker,
};

/// Levels of supervisors.
const DEPTH: u32 = 4;

/// So long that two of them seldom meet.
fn time() -> impl Strategy<Value = u64> {
    prop_oneof![2 => 1..200_u64, 5 => 1..40_000_u64]
}

fn at_once_or_later() -> impl Strategy<Value = u64> {
    prop_oneof![2 => Just(0), 1 => time()]
}

pub fn plan() -> BoxedStrategy<Plan> {
    (scope(DEPTH), prop::collection::vec(line(), 0..14))
        .prop_map(|(root, script)| Plan { root, script })
        .boxed()
}

fn scope(depth: u32) -> BoxedStrategy<Scope> {
    let member = if depth > 1 {
        Union::new_weighted(vec![
            (3, worker(true).prop_map(Member::Worker).boxed()),
            (1, scope(depth - 1).prop_map(Member::Scope).boxed()),
        ])
        .boxed()
    } else {
        worker(true).prop_map(Member::Worker).boxed()
    };
    let strategy = select(vec![
        SupervisionStrategy::OneForOne,
        SupervisionStrategy::OneForAll,
        SupervisionStrategy::RestForOne,
    ]);
    let escalation = prop_oneof![
        4 => Just(EscalationPolicy::EscalateToParent),
        1 => Just(EscalationPolicy::ShutdownTree),
        2 => Just(EscalationPolicy::QuarantineScope),
    ];
    let auto_shutdown = prop_oneof![
        3 => Just(AutoShutdown::Never),
        1 => Just(AutoShutdown::AnySignificant),
        1 => Just(AutoShutdown::AllSignificant),
    ];
    let order = prop_oneof![3 => Just(ShutdownOrder::Reverse), 1 => Just(ShutdownOrder::Parallel)];
    (
        strategy,
        limit(0..6),
        escalation,
        auto_shutdown,
        order,
        restart(),
        prop::bool::weighted(0.2),
        prop::collection::vec(member, 0..5),
    )
        .prop_map(
            |(
                strategy,
                intensity,
                escalation,
                auto_shutdown,
                order,
                restart,
                significant,
                members,
            )| {
                Scope {
                    strategy,
                    intensity,
                    escalation,
                    auto_shutdown,
                    order,
                    restart,
                    significant,
                    members,
                }
            },
        )
        .boxed()
}

fn restart() -> impl Strategy<Value = RestartType> {
    prop_oneof![
        4 => Just(RestartType::Permanent),
        2 => Just(RestartType::Transient),
        1 => Just(RestartType::Temporary),
    ]
}

fn limit(count: std::ops::Range<u32>) -> impl Strategy<Value = Limit> {
    (count, prop_oneof![1 => 1..2_000_u64, 3 => 1..400_000_u64])
        .prop_map(|(count, window)| Limit { count, window })
}

fn worker(declared: bool) -> impl Strategy<Value = Worker> {
    let blown = prop_oneof![
        2 => Just(Blown::Quarantine(None)),
        2 => time().prop_map(|time| Blown::Quarantine(Some(time))),
        1 => Just(Blown::Escalate),
        1 => Just(Blown::Stop),
    ];
    let fuse = (limit(0..4), blown).prop_map(|(limit, blown)| Fuse { limit, blown });
    let curve = select(vec![Curve::Constant, Curve::Linear, Curve::Exponential]);
    let backoff = (curve, at_once_or_later(), time(), time()).prop_map(
        |(curve, initial, max, reset_after)| Delays {
            curve,
            initial,
            max,
            reset_after,
        },
    );
    // A tree of which a child does not start is soon compared.
    let early = if declared { 1 } else { 10 };
    let first = prop_oneof![100 => run(false), early => run(true)];
    let runs = (first, prop::collection::vec(run(true), 0..5));
    (
        restart(),
        prop::bool::weighted(0.25),
        option::of(fuse),
        option::of(backoff),
        prop::bool::weighted(0.4),
        prop_oneof![4 => 40_000..80_000_u64, 1 => time()],
        time(),
        option::weighted(0.85, runs),
    )
        .prop_map(
            move |(restart, significant, fuse, backoff, explicit, start_timeout, grace, runs)| {
                let runs = runs.map_or_else(Vec::new, |(first, then)| {
                    std::iter::once(first).chain(then).collect()
                });
                let hurried = declared && runs.first().is_some_and(|run| run.ready > 0);
                Worker {
                    restart,
                    significant,
                    fuse,
                    backoff,
                    explicit,
                    start_timeout: if hurried {
                        start_timeout.max(40_000)
                    } else {
                        start_timeout
                    },
                    grace,
                    runs,
                }
            },
        )
}

/// `early`: it may end before it has started.
fn run(early: bool) -> BoxedStrategy<Run> {
    let how = prop_oneof![
        2 => Just(End::Completes),
        5 => Just(End::Fails),
        1 => Just(End::IsFatal),
        1 => Just(End::Panics),
    ];
    let end = if early {
        prop_oneof![1 => Just(0), 6 => time()].boxed()
    } else {
        (40_001..90_000_u64).boxed()
    };
    let stop = prop_oneof![
        5 => at_once_or_later().prop_map(Stop::Takes),
        1 => at_once_or_later().prop_map(Stop::Fails),
        1 => Just(Stop::Deaf),
    ];
    (at_once_or_later(), option::weighted(0.8, (end, how)), stop)
        .prop_map(|(ready, end, stop)| Run { ready, end, stop })
        .boxed()
}

fn line() -> impl Strategy<Value = Line> {
    let order = prop_oneof![
        6 => Just(Order::Look),
        3 => any::<u8>().prop_map(Order::Pause),
        4 => any::<u8>().prop_map(Order::Resume),
        4 => any::<u8>().prop_map(Order::Restart),
        2 => any::<u8>().prop_map(Order::Quarantine),
        2 => any::<u8>().prop_map(Order::Remove),
        3 => (any::<u8>(), any::<u8>(), worker(false))
            .prop_map(|(under, name, child)| Order::Add { under, name, child }),
        2 => Just(Order::Shutdown),
    ];
    (time(), order).prop_map(|(after, order)| Line { after, order })
}
