"""Elixir and Python: a GenServer of each called from the other, as its own users call it."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from beams import COOKIE, fresh, python
from support import eventually

import partisan
from partisan import Atom, CallTimeout, Exit, GenServer, NoProc, rpc
from partisan.etf import decode

SECONDS = 60.0

SCRIPT = """
defmodule Stock do
  use GenServer
  def init(items), do: {:ok, items}
  def handle_call({:take, item, n}, _from, items) do
    case items do
      %{^item => have} when have >= n -> {:reply, {:ok, have - n}, %{items | item => have - n}}
      _ -> {:reply, {:error, "not enough of #{item}"}, items}
    end
  end
  def handle_call(:late, _from, items), do: {:noreply, items}
  def handle_call({:stop, reason}, _from, items), do: {:stop, reason, items}
  def handle_cast({:add, item, n}, items), do: {:noreply, Map.update(items, item, n, &(&1 + n))}
  def handle_info({:tell, pid}, items) do
    send(pid, {:items, items})
    {:noreply, items}
  end
end

loop = fn loop ->
  case IO.gets("") do
    :eof -> System.halt(0)
    line ->
      reply =
        try do
          {value, _} = line |> String.trim() |> Base.decode64!() |> Code.eval_string()
          {:ok, value}
        catch
          kind, reason -> {kind, reason}
        end
      reply |> :erlang.term_to_binary() |> Base.encode64() |> IO.puts()
      loop.(loop)
  end
end

IO.puts("ready")
loop.(loop)
"""


class Elixir:
    """A running node that evaluates what it is asked."""

    def __init__(self, epmd_port: int) -> None:
        found = shutil.which("elixir")
        if found is None:
            pytest.skip("no elixir on the path: install Debian's elixir")
        self.name = fresh("elixir")
        environment = {"ERL_EPMD_PORT": str(epmd_port), "ERL_CRASH_DUMP_SECONDS": "0", "LC_ALL": "C.UTF-8"}
        flags = "-kernel logger_level none inet_dist_use_interface {127,0,0,1}"
        self.process = subprocess.Popen(
            [found, "--name", self.name, "--cookie", COOKIE, "--erl", flags, "-e", SCRIPT],
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.line() == b"ready"

    def line(self) -> bytes:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self, code: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(base64.b64encode(code.encode()) + b"\n")
        self.process.stdin.flush()
        return decode(base64.b64decode(self.line()))

    async def eval(self, code: str) -> Any:
        """`{ok, value}`, or the class and reason of what was raised."""
        return await asyncio.wait_for(asyncio.to_thread(self.ask, code), SECONDS)

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def elixir(epmd: int) -> Iterator[Elixir]:
    node = Elixir(epmd)
    yield node
    node.kill()


class Counter(GenServer):
    def init(self) -> None:
        self.n = 0

    def handle_call(self, request: Any, caller: Any) -> Any:
        match request:
            case (Atom("add"), number):
                self.n += number
                return (Atom("ok"), self.n)
            case {b"name": name}:
                return {"hello": name}
            case Atom("late"):
                return partisan.gen.NoReply()
        return (Atom("error"), request)

    def handle_cast(self, request: Any) -> None:
        self.n = request


OK = Atom("ok")


async def test_a_server_in_python_is_called_from_elixir(elixir: Elixir, epmd: int) -> None:
    async with python(epmd) as py:
        await Counter.start(name="counter")
        there = f'{{:counter, :"{py.name}"}}'
        assert await elixir.eval(f'Node.connect(:"{py.name}")') == (OK, True)
        assert await elixir.eval(f"GenServer.call({there}, {{:add, 5}})") == (OK, (OK, 5))
        assert await elixir.eval(f'GenServer.call({there}, %{{"name" => "José"}})') == (OK, {b"hello": "José".encode()})
        assert await elixir.eval(f"GenServer.call({there}, nil)") == (OK, (Atom("error"), Atom("nil")))
        assert await elixir.eval(f"GenServer.cast({there}, 40)") == (OK, OK)
        assert await elixir.eval(f"GenServer.call({there}, {{:add, 2}})") == (OK, (OK, 42))
        kind, reason = await elixir.eval(f"GenServer.call({there}, :late, 50)")
        assert (kind, reason[0]) == (Atom("exit"), Atom("timeout"))
        kind, reason = await elixir.eval(f'GenServer.call({{:nobody, :"{py.name}"}}, 1)')
        assert (kind, reason[0]) == (Atom("exit"), Atom("noproc"))
        py.expose(lambda a, b: a + b, "Elixir.Calc:add")
        assert await elixir.eval(f':erpc.call(:"{py.name}", Calc, :add, [1, 2])') == (OK, 3)
        monitors = f"""
          ref = Process.monitor({there})
          catch_exit = fn -> try do GenServer.call({there}, :x) catch :exit, _ -> :gone end end
          catch_exit.()
          Process.demonitor(ref, [:flush])
        """
        assert await elixir.eval(monitors) == (OK, True)


async def test_a_server_in_elixir_is_called_from_python(elixir: Elixir, epmd: int) -> None:
    async with python(epmd) as py:
        assert (await elixir.eval('{:ok, _} = GenServer.start(Stock, %{"pear" => 3}, name: Stock); :ok')) == (OK, OK)
        stock = ("Elixir.Stock", elixir.name)
        take = (Atom("take"), "pear", 2)
        assert await partisan.call(stock, take) == (OK, 1)
        assert await partisan.call(stock, take) == (Atom("error"), b"not enough of pear")
        partisan.cast(stock, (Atom("add"), "pear", 4))
        assert await partisan.call(stock, take) == (OK, 3)
        heard: list[Any] = []

        async def asks() -> None:
            partisan.send(stock, (Atom("tell"), partisan.self()))
            heard.append(await partisan.receive(timeout=30))
            py.monitor(stock)
            heard.append(await partisan.receive(timeout=30))

        py.spawn(asks)
        await eventually(lambda: heard)
        assert heard == [(Atom("items"), {b"pear": 3})]
        with pytest.raises(CallTimeout):
            await partisan.call(stock, Atom("late"), timeout=0.05)
        with pytest.raises(Exit) as ended:
            await partisan.call(stock, (Atom("stop"), Atom("normal")))
        assert ended.value.reason is Atom("normal")
        await eventually(lambda: len(heard) == 2)
        assert heard[1][-1] in (Atom("normal"), Atom("noproc"))
        with pytest.raises(NoProc):
            await partisan.call(stock, take)
        assert await rpc.call(elixir.name, "Elixir.String", "upcase", ["straße"]) == b"STRASSE"
