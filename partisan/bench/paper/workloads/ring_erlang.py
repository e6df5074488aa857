"""The Erlang side of the workloads on a ring: between stock nodes, or between nodes of Partisan.

It takes the orders of `ring_python`, and does the same.
"""

MODULE = "partisan_bench_ring"

SOURCE = r"""
%% One of three nodes that hold the partitions of a ring, in the semantics of the published harness.
-module(partisan_bench_ring).
-export([hold/0]).
%% DEFINITIONS

-record(ring, {partisan, names, others, channels, affinity, node, gossips}).
-record(job, {payload, most, until, writes}).

argument(Key) ->
    {ok, [[Value]]} = init:get_argument(Key),
    Value.

term(Text) ->
    {ok, Tokens, _} = erl_scan:string(Text ++ "."),
    {ok, Term} = erl_parse:parse_term(Tokens),
    Term.

hold() ->
    spawn(fun() ->
        Partisan = argument(by) =:= "partisan",
        _ = Partisan andalso ({ok, _} = application:ensure_all_started(partisan)),
        Node = case Partisan of true -> partisan:node(); false -> node() end,
        Names = list_to_tuple([list_to_atom(Name) || Name <- string:lexemes(argument(names), ",")]),
        Others = tuple_to_list(Names) -- [Node],
        Ring = #ring{partisan = Partisan, names = Names, others = Others, channels = term(argument(channels)),
                     affinity = argument(affinity) =:= "true", node = Node, gossips = counters:new(1, [])},
        Mine = [P || P <- lists:seq(0, ?PARTITIONS - 1), owner(P, Ring) =:= Node],
        [register(partition(P), spawn(fun() -> partition(P, #{}, [], 1, Ring) end)) || P <- Mine],
        register(store, spawn(fun() -> store(Ring) end)),
        register(gossip, spawn(fun() -> listener(Ring) end)),
        io:format("{\"listening\": true}~n"),
        ok = join(Ring),
        io:format("{\"ready\": true}~n"),
        orders(Ring, Mine)
    end).

join(#ring{partisan = false, others = Others}) ->
    until(fun() -> lists:all(fun(Node) -> net_adm:ping(Node) =:= pong end, Others) end);
join(#ring{partisan = true, others = Others}) ->
    _ = [ok = partisan_peer_service:join(Spec) || Spec <- term(argument(contacts))],
    Count = list_to_integer(argument(connections)),
    until(fun() -> lists:all(fun(Node) -> partisan_peer_connections:count(Node) >= Count end, Others) end).

%% There is no event that says that all are there.
until(Test) ->
    case Test() of
        true -> ok;
        false -> timer:sleep(50), until(Test)
    end.

%% ---- orders ----

orders(Ring, Mine) ->
    Line = case io:get_line("") of eof -> halt(); Text -> Text end,
    case string:lexemes(Line, " \n") of
        ["run", Kind | Words] -> run(Kind, Words, Ring, Mine);
        ["forget"] -> forget(Mine)
    end,
    orders(Ring, Mine).

%% Processes that wait collect no garbage by themselves, and would keep what they have forgotten.
forget(Mine) ->
    Self = self(),
    [partition(P) ! {forget, Self} || P <- Mine],
    [receive {forgotten, P} -> ok end || P <- Mine],
    io:format("{\"forgotten\": true}~n").

run(Kind, Words, Ring, Mine) ->
    [Actors, Octets, Most, Milliseconds, Writes, Samples] = [list_to_integer(Word) || Word <- Words],
    Keep = max(1, ?KEEP_OCTETS div max(1, Octets)),
    [partition(P) ! {keep, Keep} || P <- Mine],
    %% The payload is there before the clock runs: eight random MiB take a twentieth of a second at first.
    Payload = crypto:strong_rand_bytes(Octets),
    Start = os:perf_counter(nanosecond),
    Until = Start + Milliseconds * 1000000,
    Job = #job{payload = Payload, most = Most, until = Until, writes = Writes},
    Beside = beside(Kind, Until, Ring),
    Work = case Kind of "kvs" -> fun objects/3; _ -> fun echo/3 end,
    Results = parallel([fun() -> Work(I, Job, Ring) end || I <- lists:seq(0, Actors - 1)]),
    Seconds = (os:perf_counter(nanosecond) - Start) / 1.0e9,
    Micros = lists:append([Times || {Times, _} <- Results]),
    Failed = lists:sum([Late || {_, Late} <- Results]),
    io:format("{\"done\": true, \"operations\": ~b, \"failed\": ~b, \"seconds\": ~.6f, \"micros\": [~s], "
              "\"more\": ~s}~n", [length(Micros), Failed, Seconds, selected(Micros, Samples), Beside()]).

parallel(Works) ->
    Self = self(),
    Pids = [spawn_link(fun() -> Self ! {self(), Work()} end) || Work <- Works],
    [receive {Pid, Result} -> Result end || Pid <- Pids].

selected(Micros, Most) ->
    Step = max(1, (length(Micros) + Most - 1) div Most),
    lists:join(",", [io_lib:format("~.1f", [Micro]) || Micro <- every(Step, 1, Micros)]).

every(_Step, _I, []) -> [];
every(Step, 1, [Each | More]) -> [Each | every(Step, Step, More)];
every(Step, I, [_ | More]) -> every(Step, I - 1, More).

%% ---- messages ----

owner(P, #ring{names = Names}) ->
    element(P rem tuple_size(Names) + 1, Names).

partition(P) ->
    list_to_atom("partition_" ++ integer_to_list(P)).

me(#ring{partisan = true}) -> partisan:self();
me(#ring{partisan = false}) -> self().

ask(P, Request, Ring) ->
    send({partition(P), owner(P, Ring)}, Request, requests, P, Ring).

send({Name, Node}, Message, _Purpose, _Key, #ring{node = Node}) ->
    Name ! Message,
    ok;
send(Target, Message, _Purpose, _Key, #ring{partisan = false}) ->
    Target ! Message,
    ok;
send({Name, Node}, Message, Purpose, Key, Ring) ->
    partisan:forward_message(Node, Name, Message, options(Purpose, Key, Ring));
send(Target, Message, Purpose, Key, Ring) ->
    partisan:forward_message(Target, Message, options(Purpose, Key, Ring)).

options(Purpose, Key, #ring{channels = Channels, affinity = Affinity}) ->
    Options = case maps:get(Purpose, Channels) of default -> #{}; Channel -> #{channel => Channel} end,
    case Affinity andalso Key =/= none of true -> Options#{partition_key => Key}; false -> Options end.

%% ---- what the partitions do ----

partition(P, Objects, Order, Keep, Ring) ->
    receive
        {echo, Sender, Number, _Name, Value} ->
            send(Sender, {Number, Value}, requests, P, Ring),
            partition(P, Objects, Order, Keep, Ring);
        {keep, Now} ->
            partition(P, Objects, Order, Now, Ring);
        {forget, From} ->
            erlang:garbage_collect(),
            From ! {forgotten, P},
            partition(P, #{}, [], Keep, Ring);
        {put, Sender, Number, Name, Value} ->
            timer:sleep(?SERVICE_MILLISECONDS),
            Order1 = [Name | lists:delete(Name, Order)],
            Gone = lists:nthtail(min(Keep, length(Order1)), Order1),
            send(Sender, {Number, ok}, requests, P, Ring),
            partition(P, maps:without(Gone, Objects#{Name => Value}), lists:sublist(Order1, Keep), Keep, Ring);
        {get, Sender, Number, Name, _Value} ->
            timer:sleep(?SERVICE_MILLISECONDS),
            send(Sender, {Number, maps:get(Name, Objects, not_found)}, requests, P, Ring),
            partition(P, Objects, Order, Keep, Ring)
    end.

%% ---- what the clients do: the latencies in microseconds, and how many operations were too late ----

echo(_I, Job, Ring) ->
    echo(Job, me(Ring), Ring, 0, []).

echo(#job{most = Most}, _Me, _Ring, Most, Times) ->
    {Times, 0};
echo(Job, Me, Ring, Count, Times) ->
    Start = os:perf_counter(nanosecond),
    if
        Start < Job#job.until; Count =:= 0 ->
            ok = ask(rand:uniform(?PARTITIONS) - 1, {echo, Me, Count, none, Job#job.payload}, Ring),
            receive {Count, _} -> ok end,
            echo(Job, Me, Ring, Count + 1, [(os:perf_counter(nanosecond) - Start) / 1000 | Times]);
        true ->
            {Times, 0}
    end.

objects(_I, Job, Ring) ->
    objects(Job, Ring, 0, [], 0).

objects(#job{most = Most}, _Ring, Most, Times, Late) ->
    {Times, Late};
objects(Job, Ring, Count, Times, Late) ->
    Start = os:perf_counter(nanosecond),
    if
        Start < Job#job.until; Count =:= 0 ->
            Key = "object" ++ integer_to_list(trunc((rand:normal() + 1) * 5000)),
            Writes = Job#job.writes,
            Value = if (Count + 1) * Writes rem 100 < Writes -> Job#job.payload; true -> none end,
            Self = self(),
            Worker = spawn(fun() -> Self ! {self(), operation(Key, Value, Ring)} end),
            case receive {Worker, Answer} -> Answer end of
                ok -> objects(Job, Ring, Count + 1, [(os:perf_counter(nanosecond) - Start) / 1000 | Times], Late);
                late -> objects(Job, Ring, Count + 1, Times, Late + 1)
            end;
        true ->
            {Times, Late}
    end.

operation(Key, Value, Ring) ->
    Kind = case Value of none -> get; _ -> put end,
    First = erlang:phash2(Key, ?PARTITIONS),
    Me = me(Ring),
    Ask = fun(Replica) -> ok = ask((First + Replica) rem ?PARTITIONS, {Kind, Me, Replica, Key, Value}, Ring) end,
    lists:foreach(Ask, lists:seq(0, ?REPLICAS - 1)),
    quorum(?QUORUM).

quorum(0) -> ok;
quorum(Left) ->
    receive {_, _} -> quorum(Left - 1) after ?TIMEOUT_MILLISECONDS -> late end.

%% ---- what goes on beside the requests: anti-entropy and gossip ----

beside("head-of-line", Until, #ring{others = Others, gossips = Gossips} = Ring) ->
    Before = counters:get(Gossips, 1),
    Self = self(),
    Works = [fun() -> stream(Node, Until, Ring) end || Node <- Others] ++ [fun() -> gossip(Until, Ring) end],
    Pid = spawn_link(fun() -> Self ! {self(), parallel(Works)} end),
    fun() ->
        Results = receive {Pid, All} -> All end,
        Octets = lists:sum(lists:droplast(Results)),
        Received = counters:get(Gossips, 1) - Before,
        io_lib:format("{\"stream_octets\": ~b, \"gossip_received\": ~b, \"gossip_sent\": ~b}",
                      [Octets, Received, lists:last(Results)])
    end;
beside(_Kind, _Until, _Ring) ->
    fun() -> "{}" end.

stream(Node, Until, Ring) ->
    stream(Node, crypto:strong_rand_bytes(?STREAM_OCTETS), me(Ring), Until, Ring, 0, 0).

stream(Node, Payload, Me, Until, Ring, Sent, Taken) ->
    Goes = os:perf_counter(nanosecond) < Until,
    if
        Goes, Sent - Taken < ?STREAM_WINDOW ->
            ok = send({store, Node}, {Me, Payload}, 'anti-entropy', none, Ring),
            stream(Node, Payload, Me, Until, Ring, Sent + 1, Taken);
        Taken < Sent ->
            receive ok -> ok end,
            stream(Node, Payload, Me, Until, Ring, Sent, Taken + 1);
        true ->
            Taken * byte_size(Payload)
    end.

store(Ring) ->
    receive {Sender, _} -> send(Sender, ok, 'anti-entropy', none, Ring) end,
    store(Ring).

gossip(Until, Ring) ->
    gossip(Until, crypto:strong_rand_bytes(?GOSSIP_OCTETS), Ring, 0).

gossip(Until, Payload, #ring{others = Others} = Ring, Count) ->
    case os:perf_counter(nanosecond) < Until of
        true ->
            Node = lists:nth(Count rem length(Others) + 1, Others),
            _ = send({gossip, Node}, Payload, gossip, none, Ring),
            timer:sleep(?GOSSIP_MILLISECONDS),
            gossip(Until, Payload, Ring, Count + 1);
        false ->
            Count
    end.

listener(Ring) ->
    receive _ -> counters:add(Ring#ring.gossips, 1, 1) end,
    listener(Ring).
"""
