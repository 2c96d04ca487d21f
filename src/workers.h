/* The worker threads. Whoever has them runs one region after another, without a barrier inside: a region ends when all its
 * parts have. Parts are offered to the workers that are awake as it begins; the others are woken for the next one. What no
 * worker has begun when the caller is through with its own part, it takes back and does itself, so nobody ever waits for a
 * worker that has not started. A worker spins for the next part while its caller is at work, and a moment longer; then it
 * sleeps.
 *
 * In the child of a fork there are no workers; they are started anew there.
 */
#ifndef FASTBP_WORKERS_H
#define FASTBP_WORKERS_H

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "pool.h"

enum { MOST_WORKERS = MOST_PARTS - 1 };
enum { TURNS_BETWEEN_LOOKS = 64 }; /* of a waiting loop, at the clock: one or two microseconds */
enum { ENOUGH_HITS = 1000, MOST_MISSES = 8 };

/* Nanoseconds.
 * SPIN: of a worker without a caller, a few times what it costs to fall asleep and to be woken.
 * SHORT_PART: in a longer one of the caller's, a worker should have begun its own.
 * PATIENCE: a longer wait shows that a worker has begun and does not get its core.
 * CROWDED: until workers are tried again after that, several of the system's time slices; twice as long each time, up to
 * LONGEST_CROWDED. */
enum { SPIN = 100000, SHORT_PART = 5000, PATIENCE = 200000, CROWDED = 20000000, LONGEST_CROWDED = 1280000000 };

/* READY: spins. CLAIMED: the caller writes down a part for it. OFFERED: it may begin, or the caller may take the part back.
 * RUNNING: works. ASLEEP, WAKING: cannot be claimed. */
enum { READY, CLAIMED, OFFERED, RUNNING, ASLEEP, WAKING };

typedef struct {
    _Alignas(128) atomic_int state;
    Region region;
    void *argument;
    int part, parts;
    pthread_mutex_t mutex;
    pthread_cond_t woken;
} Worker;

static Worker workers[MOST_WORKERS];
static atomic_int n_workers; /* started */
static atomic_int taken;     /* by a caller, with so many threads in all; 0: by none */
static atomic_int callers;   /* between enter and leave */
static atomic_int crowded;   /* the caller works alone since crowded_since */
static struct timespec crowded_since;
static long crowded_for = CROWDED;
static int misses, hits;          /* regions without and with all workers, since the caller last worked alone */
static atomic_long parts_offered; /* to workers, so far */
static atomic_int callers_cpu;

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static long nanoseconds_since(const struct timespec *start)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - start->tv_sec) * 1000000000L + (now.tv_nsec - start->tv_nsec);
}

#ifdef __linux__
static void note_callers_cpu(void) { atomic_store_explicit(&callers_cpu, sched_getcpu(), memory_order_relaxed); }

/* Moves this worker where it may be but its caller is not: a worker that wakes up beside its caller can stay there for
 * tens of milliseconds, and each waits for the other. */
static void leave_callers_cpu(void)
{
    const int cpu = atomic_load_explicit(&callers_cpu, memory_order_relaxed);
    cpu_set_t allowed, others;
    if (sched_getcpu() != cpu || sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return;
    others = allowed;
    CPU_CLR(cpu, &others);
    if (CPU_COUNT(&others) > 0 && sched_setaffinity(0, sizeof others, &others) == 0)
        sched_setaffinity(0, sizeof allowed, &allowed);
}
#else
static void note_callers_cpu(void) {}
static void leave_callers_cpu(void) {}
#endif

/* Moves a worker from one state to another, or returns 0: it was in a third. */
static int move(Worker *worker, int from, int to) { return atomic_compare_exchange_strong(&worker->state, &from, to); }

static void fall_asleep(Worker *worker)
{
    if (!move(worker, READY, ASLEEP))
        return; /* claimed at the last moment */
    pthread_mutex_lock(&worker->mutex);
    while (atomic_load(&worker->state) == ASLEEP)
        pthread_cond_wait(&worker->woken, &worker->mutex);
    pthread_mutex_unlock(&worker->mutex);
    atomic_store(&worker->state, READY);
}

static void wait_for_work(Worker *worker)
{
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (long turn = 1;; turn++) {
        if (atomic_load_explicit(&worker->state, memory_order_relaxed) == OFFERED && move(worker, OFFERED, RUNNING))
            return;
        relax();
        if (turn % TURNS_BETWEEN_LOOKS != 0)
            continue;
        if (turn % (4 * TURNS_BETWEEN_LOOKS) == 0)
            sched_yield(); /* to whom else needs this core */
        leave_callers_cpu();
        if (worker - workers + 1 < atomic_load_explicit(&taken, memory_order_relaxed) &&
            !atomic_load_explicit(&crowded, memory_order_relaxed)) {
            clock_gettime(CLOCK_MONOTONIC, &start);
        } else if (nanoseconds_since(&start) > SPIN) {
            fall_asleep(worker);
            clock_gettime(CLOCK_MONOTONIC, &start);
        }
    }
}

static void *work(void *argument)
{
    Worker *worker = argument;
    for (;;) {
        atomic_store_explicit(&worker->state, READY, memory_order_release);
        wait_for_work(worker);
        worker->region(worker->argument, worker->part, worker->parts);
    }
    return NULL;
}

/* A thread more, or as many as before where the system gives none. Signals are left to the program's own threads. */
static void start_worker(void)
{
    Worker *worker = &workers[n_workers];
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    pthread_mutex_init(&worker->mutex, NULL);
    pthread_cond_init(&worker->woken, NULL);
    atomic_store(&worker->state, WAKING);
    if (pthread_attr_init(&attributes) != 0)
        return;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&thread, &attributes, work, worker) == 0)
        n_workers++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
}

static void wake(Worker *worker)
{
    if (!move(worker, ASLEEP, WAKING))
        return;
    pthread_mutex_lock(&worker->mutex); /* so that the signal does not fall between its look and its wait */
    pthread_cond_signal(&worker->woken);
    pthread_mutex_unlock(&worker->mutex);
}

static int least_of(int a, int b) { return a < b ? a : b; }

static int enter_pool(int threads)
{
    threads = least_of(threads, MOST_PARTS) - atomic_fetch_add(&callers, 1);
    int nobody = 0;
    if (threads < 2 || !atomic_compare_exchange_strong(&taken, &nobody, threads))
        return 1;
    note_callers_cpu();
    for (int missing = threads - 1 - n_workers; missing > 0; missing--)
        start_worker();
    for (int w = 0; w < least_of(threads - 1, n_workers); w++)
        wake(&workers[w]);
    return threads;
}

static void leave_pool(int threads)
{
    if (threads > 1)
        atomic_store(&taken, 0);
    atomic_fetch_sub(&callers, 1);
}

/* Returns the nanoseconds that it waited, 0 for a short wait. */
static long wait_for_end(Worker *worker)
{
    struct timespec start;
    long waited = 0;
    for (long turn = 1; atomic_load_explicit(&worker->state, memory_order_acquire) == RUNNING; turn++) {
        relax();
        if (turn == TURNS_BETWEEN_LOOKS)
            clock_gettime(CLOCK_MONOTONIC, &start);
        if (turn % TURNS_BETWEEN_LOOKS == 0)
            waited = nanoseconds_since(&start);
        if (waited > PATIENCE)
            sched_yield(); /* the worker may be waiting for this very core */
    }
    return waited;
}

/* Whether to do without workers for a while, because other programs want their cores. */
static int is_crowded(void)
{
    if (!atomic_load_explicit(&crowded, memory_order_relaxed))
        return 0;
    if (nanoseconds_since(&crowded_since) < crowded_for)
        return 1;
    atomic_store_explicit(&crowded, 0, memory_order_relaxed);
    misses = hits = 0;
    return 0;
}

/* After a region: `own` nanoseconds for the caller's part, `waited` for workers that had begun; `missing` had not. */
static void watch_workers(long own, long waited, int missing)
{
    if (!missing)
        misses = 0, hits++;
    else if (own > SHORT_PART)
        misses++;
    if (hits == ENOUGH_HITS)
        crowded_for = CROWDED;
    if (misses < MOST_MISSES && !(waited > PATIENCE && waited > own / 2))
        return;
    if (hits < ENOUGH_HITS && crowded_for < LONGEST_CROWDED)
        crowded_for *= 2;
    clock_gettime(CLOCK_MONOTONIC, &crowded_since);
    atomic_store_explicit(&crowded, 1, memory_order_relaxed);
}

static int claim_team(Worker **team, int threads)
{
    int parts = 1;
    note_callers_cpu();
    for (int w = 0; w < least_of(threads - 1, n_workers); w++) {
        if (move(&workers[w], READY, CLAIMED))
            team[parts++] = &workers[w];
        else
            wake(&workers[w]);
    }
    return parts;
}

static void run_region(Region region, void *argument, int threads)
{
    Worker *team[MOST_PARTS];
    struct timespec start;
    long own, waited = 0;
    int missing = 0, parts = threads == 1 || is_crowded() ? 1 : claim_team(team, threads);
    if (parts == 1) {
        region(argument, 0, 1);
        return;
    }
    atomic_fetch_add_explicit(&parts_offered, parts - 1, memory_order_relaxed);
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int part = 1; part < parts; part++) {
        team[part]->region = region;
        team[part]->argument = argument;
        team[part]->part = part;
        team[part]->parts = parts;
        atomic_store_explicit(&team[part]->state, OFFERED, memory_order_release);
    }
    region(argument, 0, parts);
    own = nanoseconds_since(&start);
    for (int part = 1; part < parts; part++)
        if (move(team[part], OFFERED, READY))
            missing++, region(argument, part, parts);
        else
            waited += wait_for_end(team[part]);
    watch_workers(own, waited, missing);
}

static void forget_workers(void)
{
    n_workers = 0;
    atomic_store(&taken, 0);
    atomic_store(&callers, 0);
    atomic_store(&crowded, 0);
}

static const Pool pool = {enter_pool, leave_pool, run_region};

static int prepare_pool(void) { return pthread_atfork(NULL, NULL, forget_workers); }

#endif
