"""Memory that the core owns, and arrays of others that it holds while a call uses them."""

cdef extern from "memory.h":
    bint TESTING
    long requests_until_refusal
    long live_blocks_count
    void *take_memory(size_t size) noexcept
    void *take_zeroed(size_t size) noexcept
    void give_back(void *block) noexcept
    PyThread_type_lock take_lock() noexcept
    void give_lock_back(PyThread_type_lock lock) noexcept

cdef extern from "redzone.h":
    void close_memory(void *start, size_t size) noexcept
    void open_memory(void *start, size_t size) noexcept


cdef long whole_vectors(long n) noexcept nogil:
    """n numbers, filled up to whole vectors."""
    return (n + VL - 1) // VL * VL


def fail_allocation(long n):
    """Makes the n-th request for memory from now on fail, 0 none. Only in a build for tests (FASTBP_TESTING=1)."""
    global requests_until_refusal
    if not TESTING:
        raise RuntimeError("this build of the core cannot fail on demand; build with FASTBP_TESTING=1")
    requests_until_refusal = n


def live_blocks():
    """Blocks of memory in use by all networks of this dtype; None unless this is a build for tests."""
    return live_blocks_count if TESTING else None


cdef class Buffer:
    """A vector of numbers on a cache line, zeroed, padded with zeros to whole vectors; numpy.asarray makes a live view."""
    cdef void *memory
    cdef real *data
    cdef Py_ssize_t shape[1]
    cdef Py_ssize_t strides[1]

    def __cinit__(self, Py_ssize_t size):
        cdef Py_ssize_t padded = whole_vectors(size)
        cdef size_t room = padded * sizeof(real) + CACHE_LINE + RED_ZONE
        self.memory = take_zeroed(room)
        if self.memory == NULL:
            raise MemoryError(f"{size} parameters do not fit into memory")
        self.data = <real *>((<size_t>self.memory + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE)
        self.shape[0] = size
        self.strides[0] = sizeof(real)
        close_memory(self.memory, room)
        open_memory(self.data, padded * sizeof(real))

    def __dealloc__(self):
        give_back(self.memory)

    cdef size_t bytes(self) noexcept nogil:
        return self.shape[0] * sizeof(real)

    def __getbuffer__(self, Py_buffer *view, int flags):
        view.buf = self.data
        view.obj = self
        view.len = self.shape[0] * sizeof(real)
        view.itemsize = sizeof(real)
        view.readonly = 0
        view.ndim = 1
        view.format = NULL
        if flags & PyBUF_FORMAT:
            view.format = "f" if REAL_BITS == 32 else "d"
        view.shape = self.shape
        view.strides = self.strides
        view.suboffsets = NULL
        view.internal = NULL


cdef class Array:
    """A C-contiguous buffer of this module's dtype (or of C ints, longs or doubles) held while a call uses it."""
    cdef Py_buffer view
    cdef bint held

    def __cinit__(self, array, str kind, Py_ssize_t rows, Py_ssize_t columns, bint writable=False):
        cdef int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT
        cdef Py_ssize_t itemsize = sizeof(real) if kind == "real" else sizeof(int) if kind == "int" else sizeof(long)
        if kind == "double":
            itemsize = sizeof(double)
        if writable:
            flags |= PyBUF_WRITABLE
        PyObject_GetBuffer(array, &self.view, flags)
        self.held = True
        formats = {"real": (b"f" if REAL_BITS == 32 else b"d",), "int": (b"i",), "long": (b"l", b"q"), "double": (b"d",)}
        if self.view.format not in formats[kind] or self.view.itemsize != itemsize:
            raise TypeError(f"expected a buffer of {kind} numbers, got format {self.view.format.decode()!r}")
        if self.view.len != rows * columns * itemsize:
            raise ValueError(f"expected a buffer of {rows} x {columns} numbers, got {self.view.len // itemsize}")
        if <size_t>self.view.buf % itemsize:
            raise ValueError("expected an aligned buffer")

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)


cdef bint hold(array, Py_buffer *view, bint writable):
    """Takes hold of an array that is one or two-dimensional, contiguous and of this module's numbers; or returns False."""
    cdef char number = c"f" if REAL_BITS == 32 else c"d"
    try:
        PyObject_GetBuffer(array, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (PyBUF_WRITABLE if writable else 0))
    except (BufferError, TypeError, ValueError):
        return False
    if (view.ndim == 1 or view.ndim == 2) and view.format[0] == number and view.format[1] == 0:
        if <size_t>view.buf % sizeof(real) == 0:
            return True
    PyBuffer_Release(view)
    return False


cdef bint disjoint(const Py_buffer *a, const void *start, size_t length) noexcept nogil:
    return <size_t>a.buf + a.len <= <size_t>start or <size_t>start + length <= <size_t>a.buf


cdef void check_order(const long *order, long rows, long present) except *:
    cdef size_t wrong = 0
    cdef long k
    for k in range(rows):
        wrong |= <size_t>order[k] >= <size_t>present
    if wrong:
        raise ValueError(f"expected an order of rows from 0 to {present - 1}")
