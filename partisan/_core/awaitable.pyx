"""What a process awaits without a future: objects that give their value, or say that there is none yet."""

from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF

__all__ = ["Awaitable"]

cdef extern from "Python.h":
    void PyErr_SetObject(object kind, object value) noexcept

cdef extern from *:
    """
    /* An awaitable that is ready gives its value through am_send without a StopIteration; interpreters that ask
       tp_iternext instead find the exception set, and no traceback entry was built for it. */
    static void partisan_install_awaitable(PyObject *type, int (*send)(PyObject *, PyObject *, PyObject **),
                                           PyObject *(*next)(PyObject *)) {
        ((PyTypeObject *)type)->tp_as_async->am_send = (sendfunc)send;
        ((PyTypeObject *)type)->tp_iternext = next;
    }
    """
    void partisan_install_awaitable(PyObject* kind, int (*send)(PyObject*, PyObject*, PyObject**) except -1,
                                    PyObject* (*next)(PyObject*) except? NULL) noexcept

cdef enum:
    SEND_RETURN = 0  # PYGEN_RETURN
    SEND_NEXT = 1    # PYGEN_NEXT

cdef object SUSPEND = object()


cdef class Awaitable:

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        """Replaced at import by `give_next`; here so that the type has the slot."""

    cdef object advance(self):
        raise NotImplementedError(f"{type(self).__name__} does not say what it gives")


cdef int give(PyObject* iterator, PyObject* argument, PyObject** result) except -1:
    value = (<Awaitable>iterator).advance()
    if value is SUSPEND:
        value = (<Awaitable>iterator).instead
        if value is None:
            value = <object>iterator
        Py_INCREF(value)
        result[0] = <PyObject*>value
        return SEND_NEXT
    Py_INCREF(value)
    result[0] = <PyObject*>value
    return SEND_RETURN


cdef PyObject* give_next(PyObject* iterator) except? NULL:
    value = (<Awaitable>iterator).advance()
    if value is SUSPEND:
        value = (<Awaitable>iterator).instead
        if value is None:
            value = <object>iterator
        Py_INCREF(value)
        return <PyObject*>value
    if isinstance(value, (tuple, BaseException)):
        value = StopIteration(value)  # set bare, these would be taken for the exception's own arguments
    PyErr_SetObject(StopIteration, value)
    return NULL


# Every subclass takes both from here.
partisan_install_awaitable(<PyObject*>Awaitable, give, give_next)
