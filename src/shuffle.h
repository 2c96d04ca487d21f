/* The random order in which an epoch takes its rows. */
#ifndef FASTBP_SHUFFLE_H
#define FASTBP_SHUFFLE_H

#include "splitmix.h"

/* Fisher and Yates' shuffle, inside out: row k takes a random place among those of the first k + 1 rows, and what was there
 * moves to the end. The place is one of k + 1 by a share of 53 bits, which is even to 1 in 2^53 / n and needs neither a
 * division nor a second draw. */
static void shuffled_rows(long *order, long n, uint64_t seed)
{
    for (long k = 0; k < n; k++) {
        const double share = (double)(int64_t)(mixed_with(seed, (uint64_t)k) >> 11) * 0x1p-53;
        const long place = (long)(share * (double)(k + 1));
        order[k] = order[place];
        order[place] = k;
    }
}

#endif
