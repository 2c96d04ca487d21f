/* Where the core's memory comes from. Built with FASTBP_TESTING=1, a request of one's choice is refused and live blocks
 * are counted, so that a test can walk through every allocation; otherwise these are malloc, calloc and free. */
#include <stdlib.h>

#ifdef FASTBP_TESTING
#define TESTING 1

static long requests_until_refusal; /* 0: none is refused */
static long live_blocks_count;

static int refused(void) { return requests_until_refusal > 0 && --requests_until_refusal == 0; }

static void *counted(void *block)
{
    live_blocks_count += block != NULL;
    return block;
}

static void *take_memory(size_t bytes) { return refused() ? NULL : counted(malloc(bytes)); }

static void *take_zeroed(size_t bytes) { return refused() ? NULL : counted(calloc(bytes, 1)); }

static void give_back(void *block)
{
    live_blocks_count -= block != NULL;
    free(block);
}

static PyThread_type_lock take_lock(void)
{
    return refused() ? NULL : (PyThread_type_lock)counted(PyThread_allocate_lock());
}

static void give_lock_back(PyThread_type_lock lock)
{
    live_blocks_count -= 1;
    PyThread_free_lock(lock);
}

#else
#define TESTING 0
static long requests_until_refusal, live_blocks_count; /* not used */
#define take_memory(bytes) malloc(bytes)
#define take_zeroed(bytes) calloc(bytes, 1)
#define give_back(block) free(block)
#define take_lock() PyThread_allocate_lock()
#define give_lock_back(lock) PyThread_free_lock(lock)
#endif
