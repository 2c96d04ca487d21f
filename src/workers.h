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
enum { TURNS_BETWEEN_LOOKS = 64 };      /* of a waiting loop, at the clock: about a microsecond */
enum { SPIN_NANOSECONDS = 100 * 1000 }; /* without a caller: a few times what it costs to fall asleep and to be woken */

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
static atomic_int n_workers;   /* started */
static atomic_int taken;       /* by a caller, with so many threads in all; 0: by none */
static atomic_int callers;     /* between enter and leave */
static atomic_long parts_done; /* by workers */

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
        if (worker - workers + 1 < atomic_load_explicit(&taken, memory_order_relaxed)) {
            clock_gettime(CLOCK_MONOTONIC, &start);
        } else if (nanoseconds_since(&start) > SPIN_NANOSECONDS) {
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
        atomic_fetch_add_explicit(&parts_done, 1, memory_order_relaxed);
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

static void wait_for_end(Worker *worker)
{
    for (long turn = 1; atomic_load_explicit(&worker->state, memory_order_acquire) == RUNNING; turn++) {
        relax();
        if (turn % TURNS_BETWEEN_LOOKS == 0 && turn > 100 * TURNS_BETWEEN_LOOKS)
            sched_yield(); /* the worker may be waiting for this very core */
    }
}

static void run_region(Region region, void *argument, int threads)
{
    Worker *team[MOST_PARTS];
    int parts = 1;
    if (threads == 1) {
        region(argument, 0, 1);
        return;
    }
    for (int w = 0; w < least_of(threads - 1, n_workers); w++) {
        if (move(&workers[w], READY, CLAIMED))
            team[parts++] = &workers[w];
        else
            wake(&workers[w]);
    }
    for (int part = 1; part < parts; part++) {
        team[part]->region = region;
        team[part]->argument = argument;
        team[part]->part = part;
        team[part]->parts = parts;
        atomic_store_explicit(&team[part]->state, OFFERED, memory_order_release);
    }
    region(argument, 0, parts);
    for (int part = 1; part < parts; part++)
        if (move(team[part], OFFERED, READY))
            region(argument, part, parts);
        else
            wait_for_end(team[part]);
}

static void forget_workers(void)
{
    n_workers = 0;
    atomic_store(&taken, 0);
    atomic_store(&callers, 0);
}

static const Pool pool = {enter_pool, leave_pool, run_region};

static int prepare_pool(void) { return pthread_atfork(NULL, NULL, forget_workers); }

#endif
