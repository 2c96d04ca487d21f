cdef extern from "shuffle.h" nogil:
    void shuffled_rows(long *order, long n, unsigned long long seed)
