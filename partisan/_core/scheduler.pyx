"""The scheduler that steps processes.

It keeps a run queue and steps coroutines itself: a message that a process waits for puts it there, without a Future, a
Task or a loop callback in between, and whoever delivered a burst of messages drains the queue once at its end. The
scheduler is given what it needs of the world (how to be called again, how to start a timer, asyncio's bookkeeping of the
current task) and so knows no loop and no clock.

Fairness: a run() makes at most STEPS steps before the loop may look at its sockets again, and a process takes at most
BUDGET messages in one step (both ours; BEAM counts 4000 reductions). Steps in which many messages were taken count for
more, so that a few processes that never wait do not keep the sockets waiting for STEPS times BUDGET messages.
"""

from cpython.contextvars cimport (
    PyContext_CopyCurrent, PyContext_Enter, PyContext_Exit, PyContext_New, PyContextVar_Get, PyContextVar_Set,
)
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF

from partisan._core.deadlines cimport Deadlines
from partisan._core.identities cimport Alias, Pid, Reference, pid_of
from partisan._core.mailbox cimport Mailbox
from partisan._core.options cimport FORM_PLAIN
from partisan._core.process cimport (
    AWAITING, DONE, HELD, PARKED, READY, RECEIVING, RUNNING, Checkpoint, Parked, Process, Receive, Runner,
    current_process, running_process,
)
from partisan._core.watch cimport Watch

from partisan._core.identities import Atom
from partisan.errors import Exit, LocalProtocolError, NameTaken

__all__ = ["Scheduler"]

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX
    int PyIter_Send(object iterator, PyObject* argument, PyObject** result) except -1

cdef enum:
    SEND_RETURN = 0  # PYGEN_RETURN

cdef Py_ssize_t STEPS = 64
cdef Py_ssize_t BUDGET = 1024
cdef Py_ssize_t SHARE = 16       # messages that count as much as a step
cdef Py_ssize_t CLOSES = 100     # how often a killed coroutine that goes on waiting is closed
cdef Py_ssize_t CLOSELY = 1024   # runs that are timed step by step after one that took long
cdef Py_ssize_t GLANCE = 8       # steps after which a run that is not timed so looks at the time
cdef Py_ssize_t ID_BITS = 28     # as in the pids of a BEAM
cdef Py_ssize_t SERIAL_BITS = 13
cdef Py_ssize_t KEY_LIMIT = <Py_ssize_t>1 << (ID_BITS + SERIAL_BITS)

cdef object NORMAL = Atom("normal")
cdef object KILLED = Atom("killed")
cdef object CANCELLED = Atom("cancelled")
cdef object ALIAS = Atom("$alias")

cdef str IGNORED = "coroutine ignored GeneratorExit"  # in the words of CPython


cdef class Scheduler(Runner):
    """The processes of one node, their names, and the queue of those that can run.

    Args:
        node: the node's name.
        first_key: where pid numbers start: pids carry no incarnation, so a node starts at a random point each boot.
        wake: callable(): arrange that `run()` is called soon.
        clock: callable() -> monotonic seconds.
        call_later: callable(seconds, function) -> handle with `cancel()`.
        loop, enter_task, leave_task: asyncio's loop and its bookkeeping of the current task.
        cancelled: the exception class that cancellation raises.
        exit_signal: its subclass that an exit signal raises, made with the reason.
        crash_reason: callable(exception) -> the reason term of a process that it ended.
        exited: callable(process, reason, error): a process has ended; `error` is its exception, if any.
    """

    def __cinit__(self, str node, *, first_key, wake, clock, call_later, loop, enter_task, leave_task, cancelled, exit_signal,
                  crash_reason, exited):
        self.aliases = {}
        self.processes = {}
        self.names = {}
        self.node = node
        self.home = Atom(node)
        self.postponed = []
        self.variables = ()
        self.next_key = first_key % KEY_LIMIT
        self.next_alias = (first_key << 20) + 1
        self.wake = wake
        self.deadlines = Deadlines(clock, call_later)
        self.loop = loop
        self.enter_task = enter_task
        self.leave_task = leave_task
        self.cancelled = cancelled
        self.exit_signal = exit_signal
        self.crash_reason = crash_reason
        self.exited = exited
        self.large_mailbox = PY_SSIZE_T_MAX
        self.idle_context = PyContext_New()

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.ready_length):
            Py_DECREF(<object>self.ready[(self.ready_head + i) & (self.ready_capacity - 1)])
        PyMem_Free(self.ready)

    def watch(self, *, stopwatch, double long_step, slow, Py_ssize_t large_mailbox, crowd) -> None:
        """Report, from now on, processes that hold the others up and mailboxes that grow.

        A run is timed as a whole. If one of several steps took long, the report does not say whose step it was, and
        the next runs are timed step by step, so that whoever does it again is named.

        Args:
            stopwatch: callable() -> seconds.
            long_step: seconds; 0 reports no steps, and times nothing.
            slow: callable(process, seconds, steps), called after a step took longer; with None for the process if it
                is one of so many steps.
            large_mailbox: messages; 0 reports no mailboxes.
            crowd: callable(process), called when its mailbox becomes longer; again only after it was half of that.
        """
        self.stopwatch = stopwatch if long_step > 0.0 else None
        self.long_step = long_step
        self.closely = 0
        self.slow = slow
        self.large_mailbox = large_mailbox if large_mailbox > 0 else PY_SSIZE_T_MAX
        self.crowd = crowd
        for process in self.processes.values():
            (<Process>process).limit = min((<Process>process).max_mailbox, self.large_mailbox)

    def spawn(self, coroutine, str title) -> Process:
        """Make a process of a coroutine, in a copy of this context; it takes its first step at the next run()."""
        cdef Process process = Process.__new__(Process)
        while self.next_key in self.processes:
            self.next_key = (self.next_key + 1) % KEY_LIMIT
        key = self.next_key
        self.next_key = (key + 1) % KEY_LIMIT
        process.pid = pid_of(self.home, key & ((1 << ID_BITS) - 1), key >> ID_BITS, 0, FORM_PLAIN)
        process.scheduler = self
        process.mailbox = Mailbox.__new__(Mailbox)
        process.coroutine = coroutine
        process.title = title
        process.names = ()
        process.max_mailbox = PY_SSIZE_T_MAX
        process.limit = self.large_mailbox
        process.context = self.context_of(process)
        self.processes[key] = process
        self.make_ready(process)
        return process

    cdef object context_of(self, Process process):
        """A copy of the context in force, in which the process is the current one and its node is, too."""
        cdef PyObject* value
        context = PyContext_CopyCurrent()
        PyContext_Enter(context)
        try:
            PyContextVar_Set(current_process, process)
            for variable, wanted in self.variables:
                value = NULL
                PyContextVar_Get(variable, NULL, &value)
                if value is not <PyObject*>wanted:
                    PyContextVar_Set(variable, wanted)
                if value is not NULL:
                    Py_DECREF(<object>value)
        finally:
            PyContext_Exit(context)
        return context

    def register(self, str name, target) -> None:
        """Give a process, or a sink `callable(message, link)`, a name. Raises NameTaken, and NoProc's twin for the dead."""
        if name in self.names:
            raise NameTaken(name)
        if isinstance(target, Process):
            if (<Process>target).state == DONE:
                raise LocalProtocolError(f"{target!r} has ended: it cannot be registered")
            (<Process>target).names += (name,)
        self.names[name] = target

    def unregister(self, str name) -> None:
        """Take a name away. Raises KeyError if nobody has it."""
        target = self.names.pop(name)
        if isinstance(target, Process):
            (<Process>target).names = tuple([other for other in (<Process>target).names if other != name])

    def whereis(self, str name) -> Process | None:
        """The process registered under the name, or None."""
        target = self.names.get(name)
        return target if isinstance(target, Process) else None

    def find(self, Pid pid) -> Process | None:
        """The living process of a pid of this node, or None."""
        return self.find_process(pid.id, pid.serial)

    cdef Process find_process(self, unsigned long long id, unsigned long long serial):
        if id >> ID_BITS or serial >> SERIAL_BITS:  # of a node before this one, or of none
            return None
        return self.processes.get(serial << ID_BITS | id)

    def interrupt(self, Process process, error) -> None:
        """Raise `error` inside the process at its next step, whatever it waits for. Done processes ignore it."""
        if process.state != DONE:
            process.interrupt(error)

    def mark(self, reference) -> None:
        """The running process has made this reference: what waits in its mailbox does not contain it."""
        if self.running is not None:
            self.running.mark = reference
            self.running.marked = self.running.mailbox.length

    def census(self) -> dict:
        """How many there are of each thing that processes hold or wait for."""
        cdef Py_ssize_t links = 0
        cdef Py_ssize_t monitors = 0
        for process in self.processes.values():
            for key in (<Process>process).ties or ():
                if type(key) is Pid:
                    links += 1
                elif type(key) is Reference:
                    monitors += 1
        return {"processes": len(self.processes), "links": links, "monitors": monitors, "calls": len(self.aliases)}

    cdef bint is_answer(self, object tag):
        """Whether a pair that begins with this answers something: with a request of this node, or its alias."""
        if isinstance(tag, Watch):
            return (<Watch>tag).answerable()
        return type(tag) is tuple and len(<tuple>tag) == 2 and (<tuple>tag)[0] is ALIAS \
            and type((<tuple>tag)[1]) is int

    cdef int answer(self, object tag, object value) except -1:
        """Give an answer to what waits for it; nothing does any more if it is late."""
        if type(tag) is tuple:
            tag = self.aliases.get((<tuple>tag)[1])
        if tag is not None:
            (<Alias>tag).answered(value)
        return 0

    cdef int make_ready(self, Process process) except -1:
        cdef Py_ssize_t i, capacity
        cdef PyObject** ready
        if process.holds and process.thrown is None and not process.overdue:
            process.state = HELD
            return 0
        process.state = READY
        if self.ready_length == self.ready_capacity:
            capacity = self.ready_capacity * 2 if self.ready_capacity else 64
            ready = <PyObject**>PyMem_Malloc(capacity * sizeof(PyObject*))
            if ready is NULL:
                raise MemoryError()
            for i in range(self.ready_length):
                ready[i] = self.ready[(self.ready_head + i) & (self.ready_capacity - 1)]
            PyMem_Free(self.ready)
            self.ready = ready
            self.ready_capacity = capacity
            self.ready_head = 0
        Py_INCREF(process)
        self.ready[(self.ready_head + self.ready_length) & (self.ready_capacity - 1)] = <PyObject*>process
        self.ready_length += 1
        if not self.awake:
            self.awake = True
            self.wake()
        return 0

    cdef Process pop_ready(self):
        process = <Process>self.ready[self.ready_head]
        self.ready_head = (self.ready_head + 1) & (self.ready_capacity - 1)
        self.ready_length -= 1
        Py_DECREF(process)
        return process

    def run(self) -> bool:
        """Step what is ready, STEPS times at most. True if more remains; then wake() has been called again.

        A run ends when it has taken longer than `long_step`, and is seen to: else processes that compute would keep
        the loop from its sockets for STEPS times as long, and peers take the node for dead.
        """
        cdef Py_ssize_t left = STEPS
        cdef Py_ssize_t steps = 0
        cdef Process process = None
        cdef double began = 0.0
        if self.running is not None:
            raise LocalProtocolError("run() was called from inside a process")
        self.awake = True
        stopwatch = self.stopwatch
        if stopwatch is not None:
            began = stopwatch()
        postponed, self.postponed = self.postponed, []
        for ready in postponed:
            self.make_ready(ready)
        try:
            while self.ready_length and left > 0:
                left -= 1
                steps += 1
                process = self.pop_ready()
                if self.closely:
                    self.timed_step(process)
                else:
                    self.step(process)
                if stopwatch is not None and (self.closely or steps % GLANCE == 0) \
                        and stopwatch() - began > self.long_step:  # sockets and timers want the loop, too
                    break
                left -= (BUDGET - process.budget) // SHARE
            if stopwatch is not None:
                self.judge(stopwatch() - began, steps, process)
        finally:
            self.awake = self.ready_length > 0 or len(self.postponed) > 0
            if self.awake:
                self.wake()
        return self.awake

    cdef int judge(self, double seconds, Py_ssize_t steps, Process last) except -1:
        """A run took so long: report it, unless its steps were timed one by one."""
        if self.closely:
            self.closely = CLOSELY if seconds > self.long_step else self.closely - 1
        elif seconds > self.long_step and steps:
            if steps > 1:
                self.closely = CLOSELY
            self.slow(last if steps == 1 else None, seconds, steps)
        return 0

    cdef int timed_step(self, Process process) except -1:
        cdef double began = self.stopwatch()
        self.step(process)
        cdef double seconds = self.stopwatch() - began
        if seconds > self.long_step:
            self.closely = CLOSELY
            self.slow(process, seconds, 1)
        return 0

    cdef int step(self, Process process) except -1:
        """Run a process until it suspends or ends."""
        cdef bint ended = False
        context = process.context
        try:
            self.enter_task(self.loop, process)
        except BaseException:  # inside a task: the step is made later
            self.make_ready(process)
            raise
        process.state = RUNNING
        process.waiting = None
        process.woken = False
        process.hibernating = process.overdue = False
        process.budget = BUDGET
        self.steps += 1
        PyContext_Enter(context)
        self.running = process
        try:
            yielded = self.resume(process, &ended)
        except Exit as error:
            return self.finish(process, error.term, error)
        except self.cancelled as error:
            return self.finish(process, process.doom_reason if process.doomed else CANCELLED, error)
        except (KeyboardInterrupt, SystemExit) as error:
            self.finish(process, KILLED, error)
            raise
        except BaseException as error:
            return self.finish(process, process.doom_reason if process.doomed else self.crash_reason(error), error)
        finally:
            self.running = None
            PyContext_Exit(context)
            self.leave_task(self.loop, process)
        if ended:
            return self.finish(process, process.doom_reason if process.doomed else NORMAL, None)
        return self.suspend(process, yielded)

    cdef object resume(self, Process process, bint* ended):
        """Resume the coroutine: what it yields, or ended[0] becomes true."""
        cdef PyObject* result = NULL
        if process.thrown is not None:
            error, process.thrown = process.thrown, None
            try:
                yielded = process.coroutine.throw(error)
            except StopIteration:
                ended[0] = True
                return None
            if process.killed:
                ended[0] = True
                return self.close(process.coroutine)
            return yielded
        ended[0] = PyIter_Send(process.coroutine, <PyObject*>None, &result) == SEND_RETURN
        yielded = <object>result
        Py_DECREF(yielded)
        return yielded

    cdef object close(self, object coroutine):
        """Close the coroutine of a killed process that waits again. Raises what it raises.

        It has met its exit signal first: what is told of a cancellation, as a lock by who was about to get it, is told.
        """
        cdef Py_ssize_t left = CLOSES
        while True:
            left -= 1
            try:
                return coroutine.close()
            except RuntimeError as error:
                if left == 0 or str(error) != IGNORED:
                    raise

    cdef int suspend(self, Process process, object yielded) except -1:
        """Put a process that has yielded where it belongs.

        Between its last look and this, code of others may have run, as a finaliser while its timer was started: what it
        waits for may have come.
        """
        kind = type(yielded)
        if process.crowded and process.mailbox.length <= self.large_mailbox // 2:
            process.crowded = False
        if process.thrown is not None:
            return self.make_ready(process)
        if kind is Receive:
            process.waiting = <Receive>yielded
            process.overdue = process.overdue or process.waiting.expired
            if process.holds and not process.overdue:
                process.state = HELD
            elif process.budget == 0 or process.mailbox.length > process.waiting.tested or process.waiting.expired:
                self.make_ready(process)
            else:
                process.state = RECEIVING
            return 0
        if isinstance(yielded, Parked):
            if process.woken or (<Parked>yielded).expired:
                return self.make_ready(process)
            process.state = PARKED
            return 0
        if kind is Checkpoint:
            return self.make_ready(process)
        if yielded is None:
            process.state = READY
            self.postponed.append(process)
            if not self.awake:
                self.awake = True
                self.wake()
            return 0
        return self.await_future(process, yielded)

    cdef int await_future(self, Process process, object yielded) except -1:
        """Have a process wait for a future. If that cannot be waited for, the process gets to know, and no other."""
        try:
            if getattr(yielded, "_asyncio_future_blocking", None):
                yielded._asyncio_future_blocking = False
                process.state = AWAITING
                process.future = yielded
                yielded.add_done_callback(process.future_done, context=self.idle_context)
                return 0
            raise LocalProtocolError(f"a process awaited {yielded!r}, which is neither a future nor of this node")
        except BaseException as error:
            if process.state == AWAITING or process.state == RUNNING:  # else it was interrupted meanwhile
                process.future = None
                if process.thrown is None:
                    process.thrown = error
                return self.make_ready(process)
        return 0

    cdef int finish(self, Process process, object reason, object error) except -1:
        """End a process. Whoever is to know is told, whatever another of them raises; all that is raised at the end."""
        cdef list errors
        process.state = DONE
        process.coroutine = None
        process.future = None
        process.exit_reason = reason
        process.plain = process.context = None  # both refer back to the process
        for name in process.names:
            del self.names[name]
        process.names = ()
        del self.processes[(<unsigned long long>process.pid.serial) << ID_BITS | process.pid.id]
        process.mailbox.clear()
        ties, process.ties = process.ties, None
        errors = process.tell_watches(reason)
        if ties is not None:
            for tie in ties.values():
                try:
                    (<Watch>tie).drop()
                except BaseException as failure:
                    errors = [failure] if errors is None else errors + [failure]
        try:
            self.exited(process, reason, error)
        except BaseException as failure:
            errors = [failure] if errors is None else errors + [failure]
        if errors is None:
            return 0
        raise errors[0] if len(errors) == 1 else BaseExceptionGroup(f"the end of {process!r}", errors)
