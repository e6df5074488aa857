"""Processes: coroutines with a mailbox and a pid, what they wait for, and the signals that they take."""

from cpython.contextvars cimport PyContextVar_Get, PyContextVar_New
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF

from partisan._core.awaitable cimport SUSPEND, Awaitable
from partisan._core.deadlines cimport Deadlines, Timed
from partisan._core.counters cimport count, live
from partisan._core.identities cimport Pid, Reference
from partisan._core.mailbox cimport Mailbox, matches_any
from partisan._core.watch cimport Watch, Watched

from partisan._core.identities import Atom
from partisan.errors import NotInProcess, ReceiveTimeout

__all__ = [
    "Checkpoint", "Parked", "Process", "Receive", "Runner", "checkpoint", "current_process_var", "receive", "running",
]

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX

cdef object NORMAL = Atom("normal")
cdef object KILL = Atom("kill")
cdef object KILLED = Atom("killed")
cdef object EXIT = Atom("EXIT")
cdef object SYSTEM_LIMIT = Atom("system_limit")
cdef object MAX_MAILBOX = Atom("max_mailbox")

cdef dict POLICIES = {"drop_newest": DROP_NEWEST, "drop_oldest": DROP_OLDEST, "exit": END}

cdef object current_process = PyContextVar_New("partisan_current_process", NULL)
current_process_var = current_process


cdef Process running_process():
    """The process in whose context this code runs, or None."""
    cdef PyObject* value = NULL
    PyContextVar_Get(current_process, NULL, &value)
    if value is NULL:
        return None
    process = <Process><object>value
    Py_DECREF(process)
    return process


def running() -> Process | None:
    """The process in whose context this code runs (a task that a process started counts), or None."""
    return running_process()


cdef double seconds_of(object timeout) except -1.0:
    cdef double seconds
    try:
        seconds = timeout
    except TypeError as error:
        raise TypeError(f"timeout {timeout!r} is no number of seconds (a float or int; None waits for ever)") from error
    return seconds if seconds > 0.0 else 0.0


def receive(*patterns, timeout=None) -> Receive:
    """Await the oldest message of the running process that matches one of the patterns, and take it.

    Args:
        patterns: none takes any message. `...` matches anything, a class its instances, a tuple a tuple of as many
            matching elements, another callable what it says yes to, any other value what is equal and of its type.
        timeout: seconds; 0 only looks.
    Raises:
        ReceiveTimeout: nothing that matches came in time.
        NotInProcess: there is no current process, or this is a task that a process started.
        TypeError: the timeout is no number.
    """
    cdef Process process = running_process()
    if process is None:
        raise NotInProcess("receive() works inside a process only")
    if not patterns and timeout is None:
        if process.plain is None and process.state != DONE:
            process.plain = Receive.__new__(Receive)
            process.plain.process = process
            process.plain.patterns = ()
            process.plain.timeout = -1.0
        return process.plain
    cdef Receive awaitable = Receive.__new__(Receive)
    awaitable.process = process
    awaitable.patterns = patterns
    awaitable.timeout = -1.0 if timeout is None else seconds_of(timeout)
    return awaitable


cdef class Receive(Timed):

    cdef object advance(self):
        """Give the message, or SUSPEND when there is none yet."""
        cdef Process process = self.process
        cdef Py_ssize_t position
        if process.scheduler.running is not process:
            raise NotInProcess("receive() belongs to the process itself, not to a task that it started")
        if process.doomed:
            return process.meet_signal()
        if (process.holds == 0 or self.expired) and process.budget > 0:
            if self.tested < process.marked and process.is_marked(self.patterns):
                self.tested = process.marked
            position = process.mailbox.find(self.patterns, self.tested)
            if position >= 0:
                process.budget -= 1
                message = process.take(position)
                self.settle()
                return message
            self.tested = process.mailbox.searched if self.patterns else 0
            if self.expired or self.timeout == 0:
                self.settle()
                raise ReceiveTimeout(self.timeout)
        process.waiting = self  # a message that is dropped from now on moves what is known of those behind it
        if self.timeout > 0 and self.ring is None and not self.expired:
            process.scheduler.deadlines.start(self)
        return SUSPEND

    def throw(self, kind, value=None, traceback=None):
        """Raise at the await, as an iterator's `throw`: the wait is over."""
        self.settle()
        raise kind if value is None else value

    def close(self):
        """The process's coroutine is closed: the wait is over."""
        self.settle()

    def settle(self):
        """Forget what this wait has learnt, so that it can be awaited again."""
        self.tested = 0
        self.expired = False
        self.stop_timer()

    cdef int on_expired(self) except -1:
        """Let the process look once more, then raise."""
        return self.process.time_over() if self.process.waiting is self else 0


def checkpoint() -> Checkpoint:
    """Let others run if this process has had its share, and wait while a full send queue holds it."""
    return the_checkpoint


cdef class Checkpoint(Awaitable):

    cdef object advance(self):
        cdef Process process = running_process()
        if process is None or process.scheduler.running is not process:
            raise NotInProcess("checkpoint() works inside a process only")
        if process.holds == 0 and process.budget > 0:
            process.budget -= 1
            return None
        return SUSPEND


cdef Checkpoint the_checkpoint = Checkpoint()


cdef class Parked(Timed):
    """Abstract: what a process awaits that makes it ready itself, whatever messages come meanwhile."""


cdef class Runner:

    cdef int make_ready(self, Process process) except -1:
        raise NotImplementedError(f"{type(self).__name__} does not run processes")

    cdef bint is_answer(self, object tag):
        return False

    cdef int answer(self, object tag, object value) except -1:
        raise NotImplementedError(f"{type(self).__name__} takes no answers")

    def send_local(self, Process process, message) -> None:
        """Put a message into a process's mailbox."""
        process.deliver(message)


cdef class Process(Watched):
    """An actor: a coroutine with a mailbox and a pid.

    While its code runs it stands in for asyncio's current task, so that `asyncio.timeout`, `TaskGroup` and any
    awaitable work inside; the methods that asyncio looks for keep asyncio's names and meaning.
    """

    def __cinit__(self):
        count(&live.processes, 1)

    def __dealloc__(self):
        count(&live.processes, -1)
        count(&live.holds, -self.holds)

    def __repr__(self):
        return f"<Process {self.title} {self.pid.text}{''.join(f' {name}' for name in self.names)}>"

    cdef int deliver(self, object message) except -1:
        """Append a message; wake the process if it waits for it."""
        if type(message) is tuple and len(<tuple>message) == 2 and self.scheduler.is_answer((<tuple>message)[0]):
            return self.scheduler.answer((<tuple>message)[0], (<tuple>message)[1])
        self.mailbox.push(message)
        if self.mailbox.length > self.limit and not self.fits():
            return 0
        self.scheduler.delivered += 1
        if self.state == RECEIVING:
            if not self.waiting.patterns:
                self.scheduler.make_ready(self)
            else:
                self.consider(message)
        return 0

    cdef bint fits(self) except -1:
        """The mailbox is longer than a limit: report it, or make room. False if the new message is dropped for that."""
        if self.mailbox.length > self.scheduler.large_mailbox and not self.crowded:
            self.crowded = True
            self.scheduler.crowd(self)
        if self.mailbox.length <= self.max_mailbox:
            return True
        self.dropped += 1
        self.scheduler.dropped += 1
        if self.policy == DROP_OLDEST:
            self.lose(self.take(0))
            return True
        self.lose(self.take(self.mailbox.length - 1))
        if self.policy == END:
            self.doom((SYSTEM_LIMIT, MAX_MAILBOX))
        return False

    cdef int lose(self, object message) except -1:
        """A full mailbox has lost this. If it was a request, nobody will answer it: whoever asked is told."""
        cdef Watch asked
        if type(message) is not tuple or len(<tuple>message) != 3:
            return 0
        caller = (<tuple>message)[1]
        if type(caller) is tuple and len(<tuple>caller) == 2 and isinstance((<tuple>caller)[1], Watch):
            asked = (<tuple>caller)[1]
            if asked.of is self:
                asked.detach()
                asked.fire((SYSTEM_LIMIT, MAX_MAILBOX))
        return 0

    cdef object take(self, Py_ssize_t position):
        """Take a message out of the mailbox; what is known of those behind it moves along."""
        if position < self.marked:
            self.marked -= 1
        if self.waiting is not None and position < self.waiting.tested:
            self.waiting.tested -= 1
        return self.mailbox.take(position)

    cdef bint is_marked(self, tuple patterns):
        """Whether what matches must contain the reference that this process made last: it came after that."""
        cdef bint found
        for pattern in patterns:
            if type(pattern) is not tuple:
                return False
            found = False
            for element in <tuple>pattern:
                if element is self.mark:
                    found = True
            if not found:
                return False
        return len(patterns) > 0

    def bound_mailbox(self, Py_ssize_t messages, str policy not None) -> None:
        """Let no more messages wait than this.

        Args:
            messages: at least 1.
            policy: what becomes of one that is too many: "drop_newest", "drop_oldest", or "exit": it is dropped, and
                the process ends with `{system_limit, max_mailbox}`.
        Raises:
            ValueError: there is no such policy, or room for none.
        """
        if messages < 1:
            raise ValueError(f"max_mailbox {messages} is not at least 1")
        if policy not in POLICIES:
            raise ValueError(f"mailbox_policy {policy!r} is none of {', '.join(POLICIES)}")
        self.policy = POLICIES[policy]
        self.max_mailbox = messages
        self.limit = min(messages, self.scheduler.large_mailbox)

    cdef int consider(self, object message) except -1:
        """Wake the process if it waits for this, the latest message.

        A pattern that raises wakes it: the fault is its own, not the sender's. So does what comes while a pattern is
        asked, as from itself: the process looks at all of that.
        """
        cdef bint wanted = True
        if self.asking:
            self.disturbed = True
            return 0
        self.asking = True
        try:
            wanted = matches_any(self.waiting.patterns, message)
        except Exception:
            pass
        finally:
            self.asking = False
            wanted, self.disturbed = wanted or self.disturbed, False
            if self.state == RECEIVING:  # something else may have made it ready
                if wanted:
                    self.scheduler.make_ready(self)
                else:
                    self.waiting.tested = self.mailbox.length
        return 0

    cpdef int hold(self) except -1:
        """Something that it sends to is full: do not run this process past its next await until release()."""
        self.holds += 1
        count(&live.holds, 1)
        return 0

    cpdef int release(self) except -1:
        """What it sends to has room again: the end of one hold()."""
        self.holds -= 1
        count(&live.holds, -1)
        if self.holds == 0 and self.state == HELD:
            self.scheduler.make_ready(self)
        return 0

    cdef int time_over(self) except -1:
        """Let it go on with what it waits for, also if something holds it: no wait is longer than its time-out."""
        self.overdue = True
        if self.state in (RECEIVING, HELD, PARKED):
            self.scheduler.make_ready(self)
        return 0

    cdef int interrupt(self, object error) except -1:
        """Raise `error` inside the process at its next step, whatever it waits for."""
        self.thrown = error
        if self.state in (RECEIVING, AWAITING, HELD, PARKED):
            self.future = None
            self.scheduler.make_ready(self)
        return 0

    cpdef int signal(self, object reason, Pid sender, bint linked=False) except -1:
        """Take an exit signal, as a process of BEAM does.

        Args:
            sender: the process that sent it, or that has ended.
            linked: it came along a link; then `kill` is a reason like another.
        """
        if self.state == DONE:
            return 0
        if reason is KILL and not linked:
            return self.doom(KILLED, True)
        if self.trapping:
            return self.deliver((EXIT, sender, reason))
        if reason is not NORMAL or (not linked and sender == self.pid):
            return self.doom(reason, False)
        return 0

    cpdef int doom(self, object reason, bint kill=False) except -1:
        """End this process, whether it traps exits or not; the first reason counts.

        It meets an ExitSignal wherever it waits, and in each receive() from then on; with `kill` it is closed at
        the next.
        """
        future = self.future
        if self.state == DONE or (self.doomed and not kill):
            return 0
        self.doomed = True
        self.killed = kill
        self.doom_reason = reason
        self.interrupt(self.scheduler.exit_signal(reason))
        if future is not None:
            future.cancel()
        return 0

    cdef object meet_signal(self):
        """It waits though it was told to end: raise the signal; give SUSPEND if it has swallowed it too often.

        Then, and if it is killed, it is closed: code that swallows whatever a wait raises must not spin for ever.
        """
        signal = self.scheduler.exit_signal(self.doom_reason)
        if self.killed or self.budget <= 0:
            self.killed = True
            self.thrown = signal
            return SUSPEND
        self.budget -= 1
        raise signal

    def trap_exit(self, bint flag):
        """Get exit signals as messages `(EXIT, pid, reason)` from now on, or no longer; return how it was."""
        was, self.trapping = self.trapping, flag
        return was

    @property
    def alive(self):
        """Whether it has not ended and is not about to."""
        return self.state != DONE and not self.doomed

    cpdef int tie(self, object key, Watch watch) except -1:
        """Hold a watch: it is dropped when this process ends."""
        if self.ties is None:
            self.ties = {}
        self.ties[key] = watch
        return 0

    cpdef Watch untie(self, object key):
        """Hold it no longer: the watch, or None if there is none under this key."""
        return None if self.ties is None else self.ties.pop(key, None)

    @property
    def links(self):
        """The pids that it is linked to."""
        return [key for key in self.ties or () if type(key) is Pid]

    @property
    def monitors(self):
        """What it monitors: reference -> Watch."""
        return {key: tie for key, tie in (self.ties or {}).items() if type(key) is Reference}

    @property
    def requests(self):
        """How many of its requests, calls apart, wait for an answer."""
        return sum([type(key) is not Pid and type(key) is not Reference for key in self.ties or ()])

    def hibernate(self) -> None:
        """Give memory back; called before a wait that is expected to be long."""
        self.mailbox.shrink()
        self.hibernating = True

    def remove(self, pattern) -> bool:
        """Take the oldest message that matches out of its mailbox, unread; whether there was one."""
        cdef Py_ssize_t position = self.mailbox.find((pattern,), 0)
        if position < 0:
            return False
        self.take(position)
        return True

    def future_done(self, future):
        """The awaited future has completed (a stale one is ignored)."""
        if self.state == AWAITING and self.future is future:
            self.future = None
            self.scheduler.make_ready(self)

    def cancel(self, msg=None):
        """Raise CancelledError inside the process, as `asyncio.Task.cancel`."""
        if self.state == DONE:
            return False
        self.cancel_requests += 1
        if self.doomed and self.thrown is not None:
            return True  # it meets the exit signal, which nobody takes back
        if self.state == AWAITING and self.future is not None and self.future.cancel(msg=msg):
            self.overdue = True
            return True
        self.interrupt(self.scheduler.cancelled() if msg is None else self.scheduler.cancelled(msg))
        return True

    def uncancel(self):
        if self.cancel_requests > 0:
            self.cancel_requests -= 1
            if self.cancel_requests == 0 and type(self.thrown) is self.scheduler.cancelled:
                self.thrown = None  # not delivered yet: taken back, as by asyncio's tasks since 3.13
        return self.cancel_requests

    def cancelling(self):
        return self.cancel_requests

    def done(self):
        return self.state == DONE

    @property
    def _fut_waiter(self):
        """As asyncio's tasks: what it awaits. (AnyIO looks at this, and at the next, to cancel.)"""
        return self.future if self.state == AWAITING else None

    @property
    def _must_cancel(self):
        """As asyncio's tasks: whether it was cancelled and has not met that."""
        return isinstance(self.thrown, self.scheduler.cancelled)

    def get_loop(self):
        return self.scheduler.loop

    def get_coro(self):
        return self.coroutine

    def get_name(self):
        return self.title

    def set_name(self, value):
        self.title = str(value)
