/* Red zones: in a build for AddressSanitizer or for valgrind (FASTBP_SANITIZE, see setup.py), memory that belongs to no
 * buffer is closed, so that a kernel that reads or writes past its buffer is caught there, and a buffer of the workspace
 * starts as NaN (as undefined, for valgrind), so that one that needs what nobody wrote is caught by the results. In any
 * other build all of this is empty. free takes memory closed or open. */
#ifndef FASTBP_REDZONE_H
#define FASTBP_REDZONE_H

#include "simd.h"

#if WATCHED
#include <sanitizer/asan_interface.h>
#define close_memory ASAN_POISON_MEMORY_REGION
#define open_memory ASAN_UNPOISON_MEMORY_REGION
static void open_buffer(real *start, long size)
{
    open_memory(start, (size_t)size * sizeof(real));
    memset(start, 0xff, (size_t)size * sizeof(real)); /* all bits set: a NaN */
}

#elif defined(FASTBP_MEMCHECK)
#include <valgrind/memcheck.h>
#define close_memory VALGRIND_MAKE_MEM_NOACCESS
#define open_memory VALGRIND_MAKE_MEM_DEFINED
#define open_buffer(start, size) VALGRIND_MAKE_MEM_UNDEFINED(start, (size_t)(size) * sizeof(real))

#else
#define close_memory(start, bytes) ((void)0)
#define open_memory(start, bytes) ((void)0)
#define open_buffer(start, size) ((void)0)
#endif

#if WATCHED || defined(FASTBP_MEMCHECK)
enum { RED_ZONE = 1024 }; /* bytes behind each buffer: sixteen of the widest vectors */
#else
enum { RED_ZONE = 0 };
#endif

#endif
