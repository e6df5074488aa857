"""Processes that are started with options."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal, overload

from partisan._core.ties import link as tie
from partisan.etf import Pid, Reference
from partisan.runtime.process_calls import KILLED, Name
from partisan.runtime.tie_calls import TieCalls

MailboxPolicy = Literal["drop_newest", "drop_oldest", "exit"]
"""What becomes of a message that is one too many."""


class SpawnCalls(TieCalls):
    """The methods of a node that start processes with options."""

    @overload
    def spawn_opt(
        self,
        function: Callable[..., Awaitable[Any]],
        *args: Any,
        name: Name | None = None,
        link: bool = False,
        monitor: Literal[False] = False,
        max_mailbox: int | None = None,
        mailbox_policy: MailboxPolicy = "drop_newest",
    ) -> Pid: ...
    @overload
    def spawn_opt(
        self,
        function: Callable[..., Awaitable[Any]],
        *args: Any,
        name: Name | None = None,
        link: bool = False,
        monitor: Literal[True],
        max_mailbox: int | None = None,
        mailbox_policy: MailboxPolicy = "drop_newest",
    ) -> tuple[Pid, Reference]: ...
    def spawn_opt(
        self,
        function: Callable[..., Awaitable[Any]],
        *args: Any,
        name: Name | None = None,
        link: bool = False,
        monitor: bool = False,
        max_mailbox: int | None = None,
        mailbox_policy: MailboxPolicy = "drop_newest",
    ) -> Pid | tuple[Pid, Reference]:
        """Start a process that runs `function(*args)`; return its pid at once, with `monitor` (pid, reference).

        Args:
            name: a name to register it under, of this node or ("via", registry, name); raises NameTaken.
            link, monitor: tie the current process to it before it runs; raises NotInProcess.
            max_mailbox: how many messages may wait at most; None: any number.
            mailbox_policy: what becomes of one that is too many: it is dropped ("drop_newest"), or the oldest is
                ("drop_oldest"), or it is and the process ends with `{system_limit, max_mailbox}` ("exit").
        """
        mine = self._mine() if link or monitor else None
        via = name if isinstance(name, tuple) else None
        pid = self.spawn(function, *args, name=None if isinstance(name, tuple) else name)
        process = self.scheduler.find(pid)
        assert process is not None  # it has been made, and has not run
        try:
            if max_mailbox is not None:
                process.bound_mailbox(max_mailbox, mailbox_policy)
            if via is not None:
                self.register(via, pid)
        except BaseException:
            process.doom(KILLED, True)
            raise
        if link and mine is not None:
            tie(mine, process)
        return (pid, self.monitor(pid)) if monitor else pid
