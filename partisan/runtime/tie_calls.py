"""Links, monitors and exit signals of a node's processes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from partisan._core.process import Process, running
from partisan._core.ties import Monitor, link, unlink
from partisan.errors import NotInProcess
from partisan.etf import Atom, Pid, Reference
from partisan.runtime.far import FarLinks
from partisan.runtime.message_calls import MessageCalls, Target
from partisan.runtime.monitors import FarMonitor, Monitors
from partisan.runtime.process_calls import ProcessCalls
from partisan.runtime.remote import Remote

NOPROC, DOWN = Atom("noproc"), Atom("DOWN")


class TieCalls(ProcessCalls, MessageCalls):
    """The methods of a node that tie its processes to others, and end them."""

    _monitors: Monitors
    _remote: Remote

    def spawn_link(self, function: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Pid:
        """As `spawn`, and link the current process to it: no end of it is missed. Raises NotInProcess."""
        self._mine()
        pid = self.spawn(function, *args, **options)
        self.link(pid)
        return pid

    def spawn_monitor(
        self, function: Callable[..., Awaitable[Any]], *args: Any, **options: Any
    ) -> tuple[Pid, Reference]:
        """As `spawn`, and monitor it from the current process. Raises NotInProcess."""
        self._mine()
        pid = self.spawn(function, *args, **options)
        return pid, self.monitor(pid)

    def link(self, pid: Pid) -> None:
        """Link the current process to another: when one ends, the other gets an exit signal with the reason.

        To a process that has ended, the signal `noproc` comes at once.
        """
        mine = self._mine()
        if pid.node != self.name:
            self._links_with(mine, pid).link(mine, pid)
            return
        other = self._living(pid)
        if other is None:
            mine.signal(NOPROC, pid, True)
        else:
            link(mine, other)

    def unlink(self, pid: Pid) -> None:
        """Take the link between the current process and another away, if there is one."""
        mine = self._mine()
        end = unlink(mine, pid)
        if end is not None and pid.node != self.name:
            self._links_with(mine, pid).unlink(mine, pid)

    def _links_with(self, mine: Process, pid: Pid) -> FarLinks:
        """By what the process is linked to one of another node, or is to be: to that node there may be two ways."""
        ours = self._remote.links
        return ours if ours.ends.active((mine.pid, pid)) else (self._far_of(pid.node) or self._remote).links

    def monitor(self, target: Target, *, tag: object = DOWN, channel: str | None = None) -> Reference:
        """Have a message sent to the current process when another ends: (tag, reference, process, item, reason).

        The item is the pid, or (name, node) of what was given by name. If there is no such process the reason is
        `noproc`, if its node is not connected or is lost `noconnection`, if it does not answer `timeout`.

        Args:
            tag: first element of the message.
            channel: towards another node, and back.
        """
        mine = self._mine()
        node, name = self._place(target)
        item = name if isinstance(name, Pid) else (name, Atom(node))
        reference = self.make_ref()
        if node != self.name:
            far, erlang = FarMonitor(mine, reference, item, tag), self._far_of(node)
            mine.tie(reference, far)
            if erlang is not None:
                far.gone = erlang.monitors.end
                erlang.monitors.begin(reference, far, node, name, mine.pid)
            else:
                far.gone = self._monitors.end
                self._monitors.begin(reference, far, node, name, channel)
            return reference
        monitor = Monitor(mine, reference, item, tag)
        mine.tie(reference, monitor)
        other = self._living(name) if isinstance(name, Pid) else self.scheduler.whereis(name.name)
        if other is None:
            monitor.fire(NOPROC)
        else:
            monitor.watch(other)
        return reference

    def demonitor(self, reference: Reference, *, flush: bool = False, info: bool = False) -> bool:
        """End a monitor of the current process; nothing if it has none of this reference. Raises TypeError.

        Args:
            flush: take its message out of the mailbox, too, if it is there.
            info: return whether the monitor was there, instead of True; with `flush`, whether no message was taken.
        """
        mine = self._mine()
        if not isinstance(reference, Reference):
            raise TypeError(f"{reference!r} is no reference")
        monitor = mine.untie(reference)
        if monitor is not None:
            monitor.drop()
        flushed = (
            flush
            and monitor is None
            and mine.remove(lambda message: type(message) is tuple and len(message) == 5 and message[1] == reference)
        )
        return True if not info else not flushed if flush else monitor is not None

    def exit(self, pid: Pid, reason: object) -> None:
        """Send a process an exit signal; as in Erlang `normal` is ignored, and so is a dead target."""
        self._check()
        sender = running()
        mine = self._outside if sender is None else sender.pid
        erlang = self._far_of(pid.node)
        if erlang is not None:
            erlang.exit(mine, pid, reason)
            return
        if pid.node != self.name:
            self._remote.exits.send(mine, pid, reason)
            return
        process = self._living(pid)
        if process is not None:
            process.signal(reason, mine)

    def trap_exit(self, flag: bool = True) -> bool:
        """Get exit signals as messages (EXIT, pid, reason) in the current process; return how it was before."""
        return self._mine().trap_exit(flag)

    def _mine(self) -> Process:
        """The current process, which must be of this node. Raises NotInProcess."""
        self._check()
        process = running()
        if process is None or process.scheduler is not self.scheduler or process.done():
            raise NotInProcess(f"this works inside a living process of {self.name} only")
        return process
