"""Processes: what each holds, and in which state it may be."""

from cpython.object cimport PyObject

from partisan._core.awaitable cimport Awaitable
from partisan._core.deadlines cimport Deadlines, Timed
from partisan._core.mailbox cimport Mailbox
from partisan._core.identities cimport Pid
from partisan._core.watch cimport Watch, Watched


cdef enum ProcessState:
    READY = 0      # in the run queue
    RUNNING = 1    # being stepped: the only state in which its own code executes
    RECEIVING = 2  # suspended in receive(); a message that matches makes it READY
    AWAITING = 3   # suspended on a future; its completion makes it READY
    HELD = 4       # could run, but a send queue past its high-water mark holds it
    DONE = 5       # its coroutine has ended
    PARKED = 6     # suspended on a Parked, which makes it READY


cdef enum MailboxPolicy:
    DROP_NEWEST = 0  # what comes to a full mailbox is dropped
    DROP_OLDEST = 1  # ... takes the place of the oldest
    END = 2          # ... ends the process


cdef class Receive(Timed):
    """What `receive()` returns: awaiting it yields the next message that matches."""
    cdef readonly Process process  # whose mailbox it reads
    cdef readonly tuple patterns   # empty: any message
    cdef Py_ssize_t tested         # the oldest so many messages are known not to match


cdef class Checkpoint(Awaitable):
    """What `checkpoint()` returns: awaiting it lets others run if the process has had its share or is held."""


cdef class Parked(Timed):
    pass


cdef class Runner:
    """Abstract: what runs processes, as far as they know it."""
    cdef Process running                # being stepped now, or None
    cdef readonly Deadlines deadlines   # of what its processes wait for
    cdef readonly object loop           # opaque: handed to enter_task, leave_task and get_loop()
    cdef object cancelled               # exception class that cancel() raises inside a process
    cdef object exit_signal             # its subclass that exit signals raise
    cdef readonly unsigned long long delivered  # messages put into mailboxes
    cdef readonly unsigned long long dropped    # messages that full mailboxes have lost
    cdef Py_ssize_t large_mailbox       # messages; a longer mailbox is reported
    cdef object crowd                   # callable(process)

    cdef bint is_answer(self, object tag)
    cdef int answer(self, object tag, object value) except -1
    cdef int make_ready(self, Process process) except -1


cdef class Process(Watched):
    cdef object __weakref__             # libraries keep what they know of the current task in weak tables
    cdef readonly Pid pid
    cdef readonly Runner scheduler
    cdef readonly Mailbox mailbox
    cdef object coroutine               # owned; None once it has ended
    cdef readonly object context        # contextvars.Context in which its code runs
    cdef readonly tuple names           # registered names (str)
    cdef object title                   # shown in logs
    cdef readonly ProcessState state
    cdef Receive waiting                # what it receives with, from when it waits until it runs again
    cdef Receive plain                  # reused by every receive() without arguments
    cdef bint woken                     # what it is about to be parked on has come
    cdef bint asking                    # patterns of `waiting` are asked about a message
    cdef bint disturbed                 # ... and another one has come meanwhile
    cdef object future                  # what it awaits, while AWAITING
    cdef object thrown                  # exception to raise in it at its next step, or None
    cdef Py_ssize_t budget              # messages it may still take before it must let others run
    cdef int cancel_requests            # as asyncio.Task.cancelling()
    cdef readonly object exit_reason    # set once DONE
    cdef readonly Py_ssize_t holds      # send queues that hold it now
    cdef bint overdue                   # what it awaits took too long, or was cancelled: it goes on though it is held
    cdef readonly bint trapping         # exit signals come as messages
    cdef bint doomed                    # an exit signal has told it to end
    cdef readonly bint killed           # ... at once
    cdef object doom_reason             # why, once doomed
    cdef public str channel             # of what its gen functions send to other nodes, unless said; None: the default
    cdef readonly bint hibernating      # it waits, and has given memory back
    cdef dict ties                      # watches that it holds: Reference (monitors) or Pid (links) -> Watch; or None
    cdef bint crowded                   # its mailbox was reported as large, and has not been half of that since
    cdef Py_ssize_t limit               # messages; a longer mailbox is looked into: the lesser of two limits
    cdef readonly Py_ssize_t max_mailbox  # messages; a longer mailbox loses some
    cdef MailboxPolicy policy           # ... which
    cdef readonly Py_ssize_t dropped    # messages that were
    cdef object mark                    # the Reference that it made last, or None
    cdef Py_ssize_t marked              # the oldest so many messages came before that: none of them contains it

    cdef int deliver(self, object message) except -1
    cdef int consider(self, object message) except -1
    cdef bint fits(self) except -1
    cdef int lose(self, object message) except -1
    cdef object take(self, Py_ssize_t position)
    cdef bint is_marked(self, tuple patterns)
    cpdef int hold(self) except -1
    cpdef int release(self) except -1
    cdef int time_over(self) except -1
    cdef int interrupt(self, object error) except -1
    cpdef int signal(self, object reason, Pid sender, bint linked=*) except -1
    cpdef int doom(self, object reason, bint kill=*) except -1
    cdef object meet_signal(self)
    cpdef int tie(self, object key, Watch watch) except -1
    cpdef Watch untie(self, object key)


cdef object current_process             # ContextVar[Process]
cdef Process running_process()
