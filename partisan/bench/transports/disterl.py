"""Two stock Erlang nodes, as a fresh `erl` starts them: named sinks and echoes on the one, senders on the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from partisan.bench.erlang import Erlang, why_not
from partisan.bench.measure import Point
from partisan.bench.procs import Child

from .base import Transport

MODULE = "partisan_bench_peer"

SOURCE = r"""
%% One side of a throughput experiment between two stock nodes.
-module(partisan_bench_peer).
-behaviour(gen_server).
-export([server/0, client/0, init/1, handle_call/3, handle_cast/2]).

argument(Key) ->
    {ok, [[Value]]} = init:get_argument(Key),
    Value.

%% ---- the server: named sinks and echoes ----

server() ->
    spawn(fun() ->
        Last = list_to_integer(argument(actors)) - 1,
        [register(name("sink_", I), spawn(fun() -> sink(0) end)) || I <- lists:seq(0, Last)],
        [register(name("echo_", I), spawn(fun echo/0)) || I <- lists:seq(0, Last)],
        [{ok, _} = gen_server:start({local, name("call_", I)}, ?MODULE, [], []) || I <- lists:seq(0, Last)],
        io:format("{\"ready\": true, \"node\": \"~s\"}~n", [node()]),
        eof = io:get_line(""),
        halt()
    end).

name(Prefix, I) ->
    list_to_atom(Prefix ++ integer_to_list(I)).

sink(Count) ->
    receive
        {report, From} ->
            From ! {counted, Count},
            sink(0);
        Payload when is_binary(Payload) ->
            sink(Count + 1)
    end.

echo() ->
    receive
        {From, Payload} ->
            From ! Payload,
            echo()
    end.

init([]) -> {ok, none}.

handle_call(Payload, _From, State) -> {reply, Payload, State}.

handle_cast(_Message, State) -> {noreply, State}.

%% ---- the client: senders, stop-and-wait clients, and the one that answers jobs ----

client() ->
    spawn(fun() ->
        Server = list_to_atom(argument(server)),
        pong = net_adm:ping(Server),
        io:format("{\"ready\": true}~n"),
        jobs(Server)
    end).

jobs(Server) ->
    case io:get_line("") of
        eof ->
            halt();
        Line ->
            [Workload, Actors, Octets, Config, Stride, Burst, Seconds] = string:lexemes(Line, " \n"),
            Job = #{
                server => Server,
                actors => list_to_integer(Actors),
                payload => binary:copy(<<0>>, list_to_integer(Octets)),
                stride => list_to_integer(Stride),
                burst => list_to_integer(Burst),
                native => native(list_to_float(Seconds))
            },
            run(Workload, Config, Job),
            jobs(Server)
    end.

native(Seconds) ->
    round(Seconds * erlang:convert_time_unit(1, second, native)).

run("oneway", _Config, Job) ->
    {Count, Seconds, _} = measure(Job, fun stream/2),
    Octets = byte_size(maps:get(payload, Job)),
    print(Count / Seconds, Count * Octets / Seconds, []);
run("echo", _Config, Job) ->
    {Count, Seconds, Latencies} = measure(Job, fun exchange/2),
    Octets = byte_size(maps:get(payload, Job)),
    print(Count / Seconds, Count * Octets / Seconds, Latencies);
run("call", _Config, Job) ->
    {Count, Seconds, Latencies} = measure(Job, fun calls/2),
    print(Count / Seconds, none, Latencies);
run("hol", "idle", Job) ->
    {Count, Seconds, Latencies} = measure(Job, fun exchange/2),
    print(Count / Seconds, none, Latencies);
run("hol", "one_channel", Job) ->
    Large = binary:copy(<<0>>, 8 * 1024 * 1024),
    Self = self(),
    spawn_link(fun() ->
        {Sent, Took, _} = measure(Job#{payload := Large, burst := 1, actors := 1}, fun stream/2),
        Self ! {beside, Sent * byte_size(Large) / Took}
    end),
    {Count, Seconds, Latencies} = measure(Job, fun exchange/2),
    Beside = receive {beside, OctetsPerSecond} -> OctetsPerSecond end,
    print(Count / Seconds, Beside, Latencies).

%% Run one process a pair of actors; return the sum of what they completed, the seconds, all latencies.
measure(#{actors := Actors, native := Native} = Job, Work) ->
    Start = erlang:monotonic_time(),
    Self = self(),
    Workers = [
        spawn_link(fun() -> Self ! {self(), Work(I, Job#{stop_at => Start + Native})} end)
     || I <- lists:seq(0, Actors - 1)
    ],
    Results = [receive {Worker, Result} -> Result end || Worker <- Workers],
    Seconds = (erlang:monotonic_time() - Start) / erlang:convert_time_unit(1, second, native),
    {lists:sum([Count || {Count, _} <- Results]), Seconds, lists:append([L || {_, L} <- Results])}.

stream(I, #{server := Server, payload := Payload, burst := Burst, stop_at := StopAt}) ->
    Target = {name("sink_", I), Server},
    ok = stream_until(StopAt, Target, Payload, Burst),
    Target ! {report, self()},
    receive
        {counted, Count} -> {Count, []}
    end.

stream_until(StopAt, Target, Payload, Burst) ->
    case erlang:monotonic_time() < StopAt of
        true ->
            ok = burst(Burst, Target, Payload),
            stream_until(StopAt, Target, Payload, Burst);
        false ->
            ok
    end.

burst(0, _Target, _Payload) ->
    ok;
burst(N, Target, Payload) ->
    Target ! Payload,
    burst(N - 1, Target, Payload).

exchange(I, #{server := Server, payload := Payload, stride := Stride, stop_at := StopAt}) ->
    exchange_until(StopAt, {name("echo_", I), Server}, {self(), Payload}, Stride, 0, []).

exchange_until(StopAt, Target, Request, Stride, Count, Latencies) ->
    ok = exchange_unseen(Stride - 1, Target, Request),
    Before = erlang:monotonic_time(),
    ok = exchange_unseen(1, Target, Request),
    After = erlang:monotonic_time(),
    Latencies1 = [After - Before | Latencies],
    case After < StopAt of
        true -> exchange_until(StopAt, Target, Request, Stride, Count + Stride, Latencies1);
        false -> {Count + Stride, Latencies1}
    end.

exchange_unseen(0, _Target, _Request) ->
    ok;
exchange_unseen(N, Target, Request) ->
    Target ! Request,
    receive
        Payload when is_binary(Payload) -> ok
    end,
    exchange_unseen(N - 1, Target, Request).

calls(I, #{server := Server, payload := Payload, stride := Stride, stop_at := StopAt}) ->
    calls_until(StopAt, {name("call_", I), Server}, Payload, Stride, 0, []).

calls_until(StopAt, Target, Request, Stride, Count, Latencies) ->
    ok = calls_unseen(Stride - 1, Target, Request),
    Before = erlang:monotonic_time(),
    Request = gen_server:call(Target, Request),
    After = erlang:monotonic_time(),
    Latencies1 = [After - Before | Latencies],
    case After < StopAt of
        true -> calls_until(StopAt, Target, Request, Stride, Count + Stride, Latencies1);
        false -> {Count + Stride, Latencies1}
    end.

calls_unseen(0, _Target, _Request) ->
    ok;
calls_unseen(N, Target, Request) ->
    Request = gen_server:call(Target, Request),
    calls_unseen(N - 1, Target, Request).

print(MessagesPerSecond, OctetsPerSecond, Latencies) ->
    Sorted = list_to_tuple(lists:sort(Latencies)),
    io:format(
        "{\"messages_per_second\": ~s, \"octets_per_second\": ~s, \"p50_us\": ~s, \"p99_us\": ~s}~n",
        [number(MessagesPerSecond), number(OctetsPerSecond), percentile(50, Sorted), percentile(99, Sorted)]
    ).

percentile(_Percent, {}) ->
    "null";
percentile(Percent, Sorted) ->
    Rank = max(1, (Percent * tuple_size(Sorted) + 99) div 100),
    number(erlang:convert_time_unit(element(Rank, Sorted), native, nanosecond) / 1000).

number(none) -> "null";
number(Value) -> io_lib:format("~.3f", [float(Value)]).
"""


class Disterl(Transport):
    """The Erlang distribution between two nodes of the installed OTP.

    Args:
        flags: of both emulators.
    """

    name = "disterl"

    def __init__(self, flags: Sequence[str] = ()) -> None:
        super().__init__()
        self._flags = flags
        self._erlang = Erlang(MODULE, SOURCE)

    def why_not(self) -> str | None:
        return why_not()

    def why_skip(self, point: Point) -> str | None:
        if point.config == "other_channel":
            return "two Erlang nodes share one connection"
        return None

    def start(self, actors: int) -> None:
        self._erlang.prepare()
        super().start(actors)

    def start_server(self, actors: int) -> Child:
        return self._erlang.node("b", "server", [*self._flags, "-actors", str(actors)])

    def start_client(self, facts: dict[str, Any]) -> Child:
        return self._erlang.node("a", "client", [*self._flags, "-server", facts["node"]])

    def stop(self) -> None:
        try:
            super().stop()
        finally:
            self._erlang.stop()


TRANSPORT = Disterl
