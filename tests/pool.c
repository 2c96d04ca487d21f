/* The thread pool alone: callers that take turns, workers that fall asleep in between, a fork.
 *
 *     pool meet        workers do take part: no part of a region ends before all have begun
 *     pool stress      four callers at once, every part of every region done exactly once
 *     pool fork        the same in children of a process that has used its workers, one of them forked in mid-region
 *     pool time        how much longer a region takes than its parts
 */
#define _GNU_SOURCE /* as Python.h does: sched_getcpu */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "workers.h"

enum { CALLERS = 4, ROUNDS = 40, REGIONS = 200 };

typedef struct {
    int count[MOST_PARTS]; /* how often each part was done */
    int parts;
} Tally;

static void tally_part(void *argument, int part, int parts)
{
    Tally *tally = argument;
    tally->count[part]++;
    if (part == 0)
        tally->parts = parts;
}

static void require(int condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "%s\n", what);
        exit(1);
    }
}

static void run_tally(int threads)
{
    Tally tally = {{0}, 0};
    pool.run(tally_part, &tally, threads);
    require(tally.parts >= 1 && tally.parts <= threads, "more parts than threads");
    for (int part = 0; part < MOST_PARTS; part++)
        require(tally.count[part] == (part < tally.parts), "a part not done once");
}

static void *call(void *seed)
{
    unsigned state = (unsigned)(size_t)seed;
    for (int round = 0; round < ROUNDS; round++) {
        const int threads = pool.enter(2 + (int)(state % 7));
        for (int region = 0; region < REGIONS; region++)
            run_tally(threads);
        pool.leave(threads);
        state = state * 1664525u + 1013904223u;
        if (state >> 31)
            usleep(300); /* long enough for the workers to sleep */
    }
    return NULL;
}

static void stress(void)
{
    pthread_t threads[CALLERS];
    for (int k = 0; k < CALLERS; k++)
        require(pthread_create(&threads[k], NULL, call, (void *)(size_t)(k + 1)) == 0, "no thread");
    for (int k = 0; k < CALLERS; k++)
        pthread_join(threads[k], NULL);
    require(atomic_load(&taken) == 0 && atomic_load(&callers) == 0, "the pool is not free");
}

static void require_good_child(pid_t child)
{
    int status;
    require(child > 0 && waitpid(child, &status, 0) == child && status == 0, "a child failed");
}

static void *fork_beside(void *unused)
{
    (void)unused;
    for (int k = 0; k < 20; k++) {
        const pid_t child = fork();
        if (child == 0) {
            call((void *)(size_t)k);
            _exit(0);
        }
        require_good_child(child);
    }
    return NULL;
}

static void forks(void)
{
    pthread_t beside;
    require(pthread_create(&beside, NULL, fork_beside, NULL) == 0, "no thread");
    for (int k = 0; k < 5; k++)
        call((void *)(size_t)k);
    pthread_join(beside, NULL);
}

typedef struct {
    atomic_int begun;
    atomic_int late;
} Meeting;

/* Waits for the other parts, which a worker has to do as long as this one lasts; ten seconds for a busy machine. */
static void meet_part(void *argument, int part, int parts)
{
    Meeting *meeting = argument;
    struct timespec start;
    (void)part;
    clock_gettime(CLOCK_MONOTONIC, &start);
    atomic_fetch_add(&meeting->begun, 1);
    while (atomic_load(&meeting->begun) < parts && !meeting->late) {
        meeting->late = nanoseconds_since(&start) > 10000000000L;
        sched_yield();
    }
}

static void meet(void)
{
    struct timespec start;
    int met = 0;
    clock_gettime(CLOCK_MONOTONIC, &start);
    while (met < 20) {
        const int threads = pool.enter(3);
        Meeting meeting = {0, 0};
        pool.run(meet_part, &meeting, threads);
        require(!meeting.late, "a part was begun by nobody");
        met += atomic_load(&meeting.begun) == 3;
        pool.leave(threads);
        require(nanoseconds_since(&start) < 60000000000L, "workers do not wake up");
    }
}

static pthread_t caller;
static atomic_long by_worker;

enum { PART_NANOSECONDS = 5000 };

static void spend_time(void *argument, int part, int parts)
{
    struct timespec start;
    (void)argument, (void)part, (void)parts;
    if (!pthread_equal(pthread_self(), caller))
        atomic_fetch_add(&by_worker, 1);
    clock_gettime(CLOCK_MONOTONIC, &start);
    while (nanoseconds_since(&start) < PART_NANOSECONDS)
        ;
}

static void measure(void)
{
    enum { TIMES = 20000 };
    struct timespec start;
    const int threads = pool.enter(2);
    usleep(1000);
    caller = pthread_self();
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int k = 0; k < TIMES; k++)
        pool.run(spend_time, NULL, threads);
    printf("%.0f ns a region of two parts of %d ns each; the worker did %ld of %d\n",
           (double)nanoseconds_since(&start) / TIMES, PART_NANOSECONDS, atomic_load(&by_worker), TIMES);
    pool.leave(threads);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "stress";
    require(prepare_pool() == 0, "no pool");
    if (strcmp(what, "stress") == 0)
        stress();
    else if (strcmp(what, "meet") == 0)
        meet();
    else if (strcmp(what, "fork") == 0)
        forks();
    else
        measure();
    return 0;
}
