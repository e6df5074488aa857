"""What a process awaits without a future: objects that give their value, or say that there is none yet."""


cdef object SUSPEND                 # what advance() gives when there is nothing to give yet


cdef class Awaitable:
    cdef object instead     # what is yielded while there is nothing to give; None: this itself
    # Give the value, or SUSPEND; raise what the await is to raise. Called again each time the process is resumed.
    cdef object advance(self)
