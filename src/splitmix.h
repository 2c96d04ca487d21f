/* splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): its n-th number is a function
 * of the seed and n, so that nothing has to be kept, and nothing depends on who draws first.
 */
#ifndef FASTBP_SPLITMIX_H
#define FASTBP_SPLITMIX_H

#include <stdint.h>

/* Its finaliser: every bit of x bears on every bit of the result. */
static inline uint64_t mixed(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* What follows from a bit string and one more number: splitmix64's number `number` of the seed `bits`. */
static inline uint64_t mixed_with(uint64_t bits, uint64_t number)
{
    return mixed(bits + (number + 1) * 0x9e3779b97f4a7c15u);
}

#endif
