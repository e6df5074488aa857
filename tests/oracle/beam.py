"""A real BEAM to ask: one `erl` process for many questions, spoken to over a pair of pipes with 4-byte frames.

The node runs nothing but stock calls handed to it by `-eval`. Questions are written by the oracle and answers read by
it, so that the codec under test is never its own messenger.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import time
from collections.abc import Sequence
from types import TracebackType

from tests.oracle import etf as oracle
from tests.oracle import writer

SECONDS = 60.0  # that one question may take

# {equal, [A, B]}: whether both octets are the same term. {echo, [A]}: the term written again. {accepts, [A]}: whether
# it is a term at all. {compress, [Level, A]}: the term written again, compressed. {sort, As}: the places of the octets
# in the order of their terms, equal ones as they came.
SERVER = """
Answer = fun
    (release, []) -> list_to_integer(erlang:system_info(otp_release));
    (equal, [A, B]) -> binary_to_term(A) =:= binary_to_term(B);
    (echo, [A]) -> term_to_binary(binary_to_term(A));
    (accepts, [A]) -> try is_list([binary_to_term(A)]) catch error:badarg -> false end;
    (compress, [<<Level>>, A]) -> term_to_binary(binary_to_term(A), [{compressed, Level}]);
    (sort, As) ->
        Numbered = lists:zip([binary_to_term(A) || A <- As], lists:seq(0, length(As) - 1)),
        [I || {{_, I}} <- [{Pair} || Pair <- lists:keysort(1, Numbered)]]
end,
Port = open_port({fd, %d, %d}, [binary, {packet, 4}, eof]),
Loop = fun Loop() ->
    receive
        {Port, {data, Octets}} ->
            Replies = [try {ok, Answer(Op, Args)} catch Kind:Reason -> {Kind, Reason} end
                       || {Op, Args} <- binary_to_term(Octets)],
            Port ! {self(), {command, term_to_binary(Replies)}},
            Loop();
        {Port, eof} -> halt()
    end
end,
Loop().
"""


class Beam:
    """A running `erl`; use it as a context manager."""

    def __init__(self, executable: str) -> None:
        questions, self._writing = os.pipe()
        self._reading, answers = os.pipe()
        command = [
            executable,
            "-noinput",
            "-boot",
            "no_dot_erlang",
            "+sbwt",
            "none",
            "-eval",
            SERVER % (questions, answers),
        ]
        environment = os.environ | {"ERL_CRASH_DUMP": os.devnull, "ERL_CRASH_DUMP_SECONDS": "0"}
        try:
            self.process = subprocess.Popen(
                command,
                pass_fds=(questions, answers),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        finally:
            os.close(questions)
            os.close(answers)

    def __enter__(self) -> Beam:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._writing)  # the node sees the end of its questions and halts
        os.close(self._reading)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def ask(self, questions: Sequence[tuple[str, Sequence[bytes]]]) -> list[oracle.Term]:
        """Return what the node answers to each (operation, octets); an exception there is one here."""
        asked = tuple(
            oracle.Tuple((oracle.Atom(op), oracle.List(tuple(oracle.Bits(item) for item in items))))
            for op, items in questions
        )
        self._send(writer.encode(oracle.List(asked)))
        replies = oracle.decode(self._receive(int.from_bytes(self._receive(4))))
        return [
            self._result(question, reply) for question, reply in zip(asked, getattr(replies, "items", ()), strict=True)
        ]

    def _result(self, question: oracle.Term, reply: oracle.Term) -> oracle.Term:
        match reply:
            case oracle.Tuple((oracle.Atom("ok"), result)):
                return result
            case _:
                raise RuntimeError(f"erl raised {reply} for {question}")

    def _send(self, octets: bytes) -> None:
        data = memoryview(len(octets).to_bytes(4) + octets)
        while data:
            data = data[os.write(self._writing, data) :]

    def _receive(self, size: int) -> bytes:
        data, deadline = bytearray(), time.monotonic() + SECONDS
        while len(data) < size:
            ready, _, _ = select.select([self._reading], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(self._reading, size - len(data)) if ready else b""
            if not chunk:
                raise RuntimeError(f"erl {'is gone' if ready else 'does not answer'}: {self.process.poll()}")
            data += chunk
        return bytes(data)


def find() -> str | None:
    """Return the path of `erl`, or None where there is none."""
    return shutil.which("erl")
