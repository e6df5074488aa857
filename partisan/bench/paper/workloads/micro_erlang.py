"""The Erlang side of the workload `micro`: between stock nodes, or between nodes of Partisan."""

MODULE = "partisan_bench_pairs"

SOURCE = r"""
%% Pairs of a sender and a receiver on two nodes, in the semantics of the published harness.
-module(partisan_bench_pairs).
-export([receivers/0, senders/0]).

argument(Key) ->
    {ok, [[Value]]} = init:get_argument(Key),
    Value.

term(Text) ->
    {ok, Tokens, _} = erl_scan:string(Text ++ "."),
    {ok, Term} = erl_parse:parse_term(Tokens),
    Term.

%% With -by partisan the messages go by partisan:forward_message, else by the operator !.
begin_partisan() ->
    case argument(by) of
        "partisan" -> {ok, _} = application:ensure_all_started(partisan), true;
        "disterl" -> false
    end.

%% A node whose main process fails ends, and says why.
main(Fun) ->
    spawn(fun() ->
        try Fun()
        catch
            Kind:Reason:Stack ->
                io:format(standard_error, "~p: ~0p in ~0P~n", [Kind, Reason, Stack, 30]),
                erlang:halt(1)
        end
    end).

%% ---- the node of the receivers ----

receivers() ->
    main(fun() ->
        Partisan = begin_partisan(),
        io:format("{\"ready\": true, \"node\": \"~s\"}~n", [node()]),
        receivers(Partisan, [])
    end).

receivers(Partisan, Known) ->
    case string:lexemes(line(), " \n") of
        ["arm", Text] ->
            Missing = max(0, list_to_integer(Text) - length(Known)),
            New = [new_receiver(Partisan, length(Known) + I) || I <- lists:seq(0, Missing - 1)],
            All = Known ++ New,
            _ = [ask(Pid, clear) || Pid <- All],
            io:format("{\"armed\": true}~n"),
            receivers(Partisan, All);
        ["join", Spec] ->
            ok = partisan_peer_service:join(term(Spec)),
            receivers(Partisan, Known);
        ["report", Most] ->
            Times = lists:append([ask(Pid, times) || Pid <- Known]),
            report(Times, list_to_integer(Most)),
            receivers(Partisan, Known)
    end.

line() ->
    case io:get_line("") of
        eof -> halt();
        Line -> Line
    end.

ask(Pid, What) ->
    Pid ! {What, self()},
    receive {answer, Pid, Answer} -> Answer end.

new_receiver(Partisan, I) ->
    Pid = spawn(fun() -> receiver(Partisan, []) end),
    register(name(I), Pid),
    Pid.

name(I) ->
    list_to_atom("receiver_" ++ integer_to_list(I)).

%% The clock of os:perf_counter is the system's monotonic one, which is one for all processes of a machine.
receiver(Partisan, Times) ->
    receive
        {_Payload, _Node, Sender, Start} ->
            Time = os:perf_counter(nanosecond) - Start,
            case Partisan of
                true -> partisan:forward_message(Sender, ok, #{});
                false -> Sender ! ok
            end,
            receiver(Partisan, [Time | Times]);
        {clear, From} ->
            From ! {answer, self(), ok},
            receiver(Partisan, []);
        {times, From} ->
            From ! {answer, self(), Times},
            receiver(Partisan, Times)
    end.

report(Times, Most) ->
    Step = max(1, (length(Times) + Most - 1) div Most),
    Texts = [io_lib:format("~.1f", [Time / 1000]) || Time <- every(Step, 1, Times)],
    io:format("{\"micros\": [~s]}~n", [lists:join(",", Texts)]).

every(_Step, _I, []) -> [];
every(Step, 1, [Time | Times]) -> [Time | every(Step, Step, Times)];
every(Step, I, [_ | Times]) -> every(Step, I - 1, Times).

%% ---- the node of the senders ----

senders() ->
    main(fun() ->
        Partisan = begin_partisan(),
        Node = list_to_atom(argument(peer)),
        io:format("{\"up\": true}~n"),
        ok = reach(Partisan, Node),
        io:format("{\"ready\": true}~n"),
        jobs(Partisan, Node, argument(affinity) =:= "true")
    end).

reach(false, Node) ->
    pong = net_adm:ping(Node),
    ok;
reach(true, Node) ->
    ok = partisan_peer_service:join(term(argument(spec))),
    fully(Node, list_to_integer(argument(connections))).

%% Until all connections are up each way; there is no event that says so.
fully(Node, Count) ->
    There = fun() -> partisan_rpc:call(Node, partisan_peer_connections, count, [node()], 5000) end,
    case partisan_peer_connections:count(Node) >= Count andalso There() of
        N when is_integer(N), N >= Count -> ok;
        _ -> timer:sleep(50), fully(Node, Count)
    end.

jobs(Partisan, Node, Affinity) ->
    ["run", Actors, Octets, Messages, Milliseconds] = string:lexemes(line(), " \n"),
    Payload = crypto:strong_rand_bytes(list_to_integer(Octets)),
    Start = os:perf_counter(nanosecond),
    Until = Start + list_to_integer(Milliseconds) * 1000000,
    Job = {Partisan, Node, Affinity, Payload, list_to_integer(Messages), Until},
    Self = self(),
    Pids = [spawn_link(fun() -> Self ! {self(), pair(I, Job)} end) || I <- lists:seq(0, list_to_integer(Actors) - 1)],
    Counts = [receive {Pid, Count} -> Count end || Pid <- Pids],
    Seconds = (os:perf_counter(nanosecond) - Start) / 1.0e9,
    io:format("{\"done\": true, \"operations\": ~b, \"seconds\": ~.6f}~n", [lists:sum(Counts), Seconds]),
    jobs(Partisan, Node, Affinity).

pair(I, {true, Node, Affinity, Payload, Most, Until}) ->
    Options = case Affinity of true -> #{partition_key => I}; false -> #{} end,
    Self = partisan:self(),
    Name = name(I),
    Send = fun(Start) -> ok = partisan:forward_message(Node, Name, {Payload, node(), Self, Start}, Options) end,
    exchange(Send, Most, Until, 0);
pair(I, {false, Node, _Affinity, Payload, Most, Until}) ->
    Target = {name(I), Node},
    Self = self(),
    exchange(fun(Start) -> Target ! {Payload, node(), Self, Start} end, Most, Until, 0).

exchange(_Send, Most, _Until, Most) ->
    Most;
exchange(Send, Most, Until, Count) ->
    case os:perf_counter(nanosecond) of
        Start when Start < Until; Count =:= 0 ->
            Send(Start),
            receive ok -> ok end,
            exchange(Send, Most, Until, Count + 1);
        _ ->
            Count
    end.
"""
