/* The x86-64 levels as the compiler's own probe sees them: it asks CPUID and, through XGETBV, the operating system. */
#ifndef FASTBP_CPU_H
#define FASTBP_CPU_H

#if defined(__x86_64__)
#define HAS(feature) (__builtin_cpu_supports(feature) != 0)
static int cpu_has_v2(void)
{
    __builtin_cpu_init();
    return HAS("sse3") && HAS("ssse3") && HAS("sse4.1") && HAS("sse4.2") && HAS("popcnt");
}
static int cpu_has_v3(void) { return cpu_has_v2() && HAS("avx2") && HAS("fma") && HAS("bmi") && HAS("bmi2"); }
static int cpu_has_v4(void)
{
    return cpu_has_v3() && HAS("avx512f") && HAS("avx512bw") && HAS("avx512cd") && HAS("avx512dq") && HAS("avx512vl");
}
#undef HAS
static int cpu_has_neon(void) { return 0; }
#else
static int cpu_has_v2(void) { return 0; }
static int cpu_has_v3(void) { return 0; }
static int cpu_has_v4(void) { return 0; }
#if defined(__aarch64__)
static int cpu_has_neon(void) { return 1; }
#else
static int cpu_has_neon(void) { return 0; }
#endif
#endif

#endif
