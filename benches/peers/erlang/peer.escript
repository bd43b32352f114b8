#!/usr/bin/env escript
%%! +S 2:2 +SDcpu 2:2 +SDio 1 +P 2097152
%% Erlang/OTP's supervisor: ids, restart limits, groups, which children there are; its reports are off, so no journal.
%% It stops its children one after the other, in reverse. It keeps the time of each restart within a second, the least it
%% can be told, and goes through them at each further one.
-mode(compile).

-export([init/1, idle/1, crash/2, probe/2]).

-define(RESTARTS, 200_000).
-define(FAILURES, 1_000).
-define(EVER, 1_000_000_000).

main([Name, Size]) ->
    logger:set_primary_config(level, none),
    N = list_to_integer(Size),
    case taken(Name, N) of
        unknown ->
            io:format("{\"unknown\": \"~s\"}~n", [Name]);
        Taken ->
            Figures = [io_lib:format("\"~s\": ~.3f", [Figure, float(Value)]) || {Figure, Value} <- Taken],
            io:format("{\"operation\": \"~s\", \"size\": ~b, \"taken\": {~s}}~n", [Name, N, lists:join(", ", Figures)])
    end.

taken("start", N) -> start(N);
taken("memory", N) -> memory_per_child(N);
taken("shutdown", N) -> shutdown(N);
taken("shutdown_reverse", N) -> shutdown(N);
taken("restart", _) -> crash_loops(1);
taken("restart_1000", _) -> crash_loops(1000);
taken("latency", N) -> latency(N);
taken("one_for_all", N) -> one_for_all(N);
taken("add_remove", N) -> add_remove(N);
taken("state", N) -> state(N);
taken(_, _) -> unknown.

init({Strategy, Children}) ->
    Flags = #{strategy => Strategy, intensity => ?EVER, period => 1},
    {ok, {Flags, Children()}}.

supervise(Strategy, Children) ->
    {ok, Supervisor} = supervisor:start_link(?MODULE, {Strategy, Children}),
    Supervisor.

child(Id, Function, Arguments) ->
    #{id => Id, start => {?MODULE, Function, Arguments}, shutdown => 300_000}.

name(N) ->
    <<"c", (integer_to_binary(N))/binary>>.

%% A count, and the count at which its owner is told.
done() ->
    Counts = atomics:new(2, []),
    atomics:put(Counts, 2, ?EVER),
    {Counts, self()}.

one({Counts, Owner}) ->
    Count = atomics:add_get(Counts, 1, 1),
    case Count >= atomics:get(Counts, 2) of
        true -> Owner ! reached;
        false -> ok
    end,
    Count.

count({Counts, _}) ->
    atomics:get(Counts, 1).

reach({Counts, _} = Done, Wanted) ->
    atomics:put(Counts, 2, Wanted),
    wait(Done, Wanted),
    atomics:put(Counts, 2, ?EVER).

wait(Done, Wanted) ->
    case count(Done) >= Wanted of
        true -> ok;
        false ->
            receive reached -> ok after 1 -> ok end,
            wait(Done, Wanted)
    end.

idle(Begun) ->
    {ok, spawn_link(fun() -> one(Begun), for_ever() end)}.

for_ever() ->
    receive never -> ok end.

children(N, Begun) ->
    [child(name(C), idle, [Begun]) || C <- lists:seq(1, N)].

idles(N) ->
    Begun = done(),
    Supervisor = supervise(one_for_one, fun() -> children(N, Begun) end),
    reach(Begun, N),
    Supervisor.

pids(Supervisor) ->
    [Pid || {_, Pid, worker, _} <- supervisor:which_children(Supervisor), is_pid(Pid)].

running(Pids) ->
    length([Pid || Pid <- Pids, is_process_alive(Pid)]).

now_ns() ->
    erlang:monotonic_time(nanosecond).

each(Began, Of) ->
    [{"ns", (now_ns() - Began) / Of}].

start(N) ->
    Began = now_ns(),
    Supervisor = idles(N),
    Taken = each(Began, N),
    N = running(pids(Supervisor)),
    Taken.

memory_per_child(N) ->
    Before = resident(),
    Supervisor = idles(N),
    After = resident(),
    N = running(pids(Supervisor)),
    [{"bytes", (After - Before) / N}].

resident() ->
    {ok, Status} = file:read_file("/proc/self/status"),
    {match, [Kib]} = re:run(Status, "VmRSS:\\s+(\\d+)", [{capture, all_but_first, list}]),
    list_to_integer(Kib) * 1024.

shutdown(N) ->
    Supervisor = idles(N),
    Pids = pids(Supervisor),
    N = running(Pids),
    Began = now_ns(),
    gen_server:stop(Supervisor, normal, infinity),
    Taken = each(Began, N),
    0 = running(Pids),
    Taken.

%% Fails as soon as it runs, until it has run so often.
crash(Runs, Owner) ->
    {ok, spawn_link(fun() -> crash_again(one(Runs), Owner) end)}.

crash_again(Run, _) when Run < ?RESTARTS ->
    exit(as_it_does);
crash_again(_, Owner) ->
    Owner ! over,
    for_ever().

crash_loops(Children) ->
    {Runs, Owner} = {done(), self()},
    Began = now_ns(),
    Crashing = fun() -> [child(name(C), crash, [Runs, Owner]) || C <- lists:seq(1, Children)] end,
    supervise(one_for_one, Crashing),
    receive over -> ok end,
    Taken = each(Began, ?RESTARTS),
    true = count(Runs) >= ?RESTARTS,
    Taken.

probe(FailedAt, Owner) ->
    {ok, spawn_link(fun() -> probe_once(FailedAt, Owner) end)}.

probe_once(FailedAt, Owner) ->
    Owner ! {begun, self(), now_ns() - atomics:get(FailedAt, 1)},
    receive fail -> ok end,
    atomics:put(FailedAt, 1, now_ns()),
    exit(as_ordered).

begun() ->
    receive {begun, Pid, Took} -> {Pid, Took} end.

with_probe(Strategy, N, Begun) ->
    Arguments = [atomics:new(1, []), self()],
    Children = fun() -> [child(probe, probe, Arguments) | children(N, Begun)] end,
    Supervisor = supervise(Strategy, Children),
    reach(Begun, N),
    {Pid, _} = begun(),
    {Supervisor, Pid}.

latency(N) ->
    {_, Probe} = with_probe(one_for_one, N, done()),
    Times = lists:sort(failures(Probe, ?FAILURES)),
    At = fun(Share) -> lists:nth((?FAILURES - 1) * Share div 100 + 1, Times) end,
    [{"p50_ns", At(50)}, {"p99_ns", At(99)}].

failures(_, 0) ->
    [];
failures(Probe, Left) ->
    timer:sleep(1),
    Probe ! fail,
    {Next, Took} = begun(),
    [Took | failures(Next, Left - 1)].

one_for_all(N) ->
    Begun = done(),
    {Supervisor, Probe} = with_probe(one_for_all, N, Begun),
    Before = pids(Supervisor),
    Began = now_ns(),
    Probe ! fail,
    reach(Begun, 2 * N),
    Taken = each(Began, N),
    {0, After} = {running(Before), N + 1},
    After = running(pids(Supervisor)),
    Taken.

add_remove(N) ->
    Times = 5_000,
    {Supervisor, Begun} = {idles(N), done()},
    More = child(<<"more">>, idle, [Begun]),
    Began = now_ns(),
    [add_and_remove(Supervisor, More, Begun, Time) || Time <- lists:seq(1, Times)],
    Taken = each(Began, Times),
    {Times, N} = {count(Begun), running(pids(Supervisor))},
    Taken.

add_and_remove(Supervisor, #{id := Id} = Child, Begun, Time) ->
    {ok, _} = supervisor:start_child(Supervisor, Child),
    reach(Begun, Time),
    ok = supervisor:terminate_child(Supervisor, Id),
    ok = supervisor:delete_child(Supervisor, Id).

state(N) ->
    Times = 20,
    Supervisor = idles(N),
    Began = now_ns(),
    [N = length(supervisor:which_children(Supervisor)) || _ <- lists:seq(1, Times)],
    each(Began, Times * N).
