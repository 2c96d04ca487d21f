/* The leaves of src/ against plain loops, at the level and dtype that the compiler's flags name; test_leaves.py runs it.
 *
 * Wherever sums are formed, inputs are small whole numbers: every order of summation is then exact, and results must
 * agree to the last bit. What must not be read is NaN or lies on an unreadable page; what must not be written holds
 * SENTINEL.
 */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "../src/dots.h"
#include "../src/tile.h"
#include "../src/transcendental.h"

enum { DEPTH = 257, ROWS = 2 * TILE_ROWS + 1, SIZE = 1 << 15 };
static const real SENTINEL = 12345;
static const real NOT_READ = (real)NAN;
static const long DEPTHS[] = {0, 1, VL - 1, VL, VL + 1, DEPTH};

#define EACH(i, array) for (size_t i = 0; i < sizeof(array) / sizeof(*array); i++)

/* ---------------------------------------------------------------- keeping count */

static long checks, failures;

#define EXPECT(condition, ...) \
    do { \
        checks++; \
        if (!(condition) && ++failures <= 20) { \
            printf("%s: ", __func__), printf(__VA_ARGS__), printf("\n"); \
        } \
    } while (0)

/* Where two arrays differ first, in their bits; n where they do not. NaNs of any kind are equal. */
static long first_difference(const real *a, const real *b, long n)
{
    for (long i = 0; i < n; i++)
        if (memcmp(a + i, b + i, sizeof(real)) && !(isnan(a[i]) && isnan(b[i])))
            return i;
    return n;
}

/* ---------------------------------------------------------------- numbers to work on */

static uint32_t seed = 1;

static uint32_t draw(void) { return (seed = seed * 1664525u + 1013904223u) >> 8; } /* 24 bits */

static real whole_number(void) { return (real)(draw() % 17) - 8; }
static real fraction(void) { return (real)draw() / (1 << 23) - 1; }

typedef real (*source_of_numbers)(void);

static void fill(real *p, long n, real value)
{
    for (long i = 0; i < n; i++)
        p[i] = value;
}

static real *end_of_memory; /* the first number of a page that can be neither read nor written */

static void reserve_memory(void)
{
    char *memory = mmap(NULL, SIZE * sizeof(real) + 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory + SIZE * sizeof(real), 65536, PROT_NONE)) {
        perror("reserve_memory");
        exit(2);
    }
    end_of_memory = (real *)(memory + SIZE * sizeof(real));
}

/* ---------------------------------------------------------------- verbs */

static void test_loads_and_stores_of_first_lanes(void)
{
    for (int n = 0; n <= VL; n++) {
        real loaded[VL], expected[2 * VL], stored[2 * VL];
        real *p = end_of_memory - n;
        for (int i = 0; i < VL; i++)
            expected[i] = i < n ? p[i] = (real)(i + 1) : 0;
        v_store(loaded, v_load_first(p, n));
        EXPECT(first_difference(loaded, expected, VL) == VL, "load of %d", n);

        fill(p, n, SENTINEL);
        v_store_first(p, v_load(expected), n);
        EXPECT(first_difference(p, expected, n) == n, "store of %d at the end of memory", n);
        fill(stored, 2 * VL, SENTINEL), fill(expected + n, 2 * VL - n, SENTINEL);
        v_store_first(stored, v_splat(1), n), fill(expected, n, 1);
        EXPECT(first_difference(stored, expected, 2 * VL) == 2 * VL, "store of %d", n);
    }
}

static void test_selections(void)
{
    const real odd[] = {0, (real)-0.0, 1, -1, (real)INFINITY, (real)-INFINITY, (real)NAN, (real)1e-30, (real)-1e30};
    EACH(i, odd) EACH(j, odd)
    {
        const real a = odd[i], b = odd[j];
        const vec va = v_splat(a), vb = v_splat(b);
        const struct {
            const char *name;
            vec got;
            real expected;
        } cases[] = {
            {"max", v_max(va, vb), a > b ? a : b},
            {"min", v_min(va, vb), a < b ? a : b},
            {"where_less", v_where_less(va, vb, v_splat(1), v_splat(2)), a < b ? 1 : 2},
            {"copysign", v_copysign(va, vb), (real)copysign((double)a, (double)b)},
            {"abs", v_abs(va), (real)fabs((double)a)},
            {"splat", va, a},
            {"sqrt", v_sqrt(va), (real)sqrt((double)a)},
            {"sum of zeros", v_splat(v_sum(v_zero())), 0},
        };
        EACH(k, cases)
        {
            real lanes[VL], expected[VL];
            v_store(lanes, cases[k].got), fill(expected, VL, cases[k].expected);
            EXPECT(first_difference(lanes, expected, VL) == VL, "%s of %g and %g gave %g, expected %g", cases[k].name,
                   (double)a, (double)b, (double)lanes[0], (double)cases[k].expected);
        }
    }
    for (int n = 0; n <= VL; n++) {
        real lanes[VL], expected[VL];
        v_store(lanes, v_where_first(n, v_splat(1), v_splat(2)));
        fill(expected, VL, 2), fill(expected, n, 1);
        EXPECT(first_difference(lanes, expected, VL) == VL, "first %d", n);
    }
}

static void test_sums_and_largest_of_lanes(void)
{
    for (int trial = 0; trial < 100; trial++) {
        vec block[VL], copy[VL];
        real lanes[VL], sums[VL], maxes[VL], got[VL];
        for (int k = 0; k < VL; k++) {
            for (int i = 0; i < VL; i++)
                lanes[i] = whole_number();
            sums[k] = 0, maxes[k] = lanes[0];
            for (int i = 0; i < VL; i++)
                sums[k] += lanes[i], maxes[k] = lanes[i] > maxes[k] ? lanes[i] : maxes[k];
            block[k] = copy[k] = v_load(lanes);
            EXPECT(v_sum(block[k]) == sums[k], "v_sum");
            EXPECT(v_largest(block[k]) == maxes[k], "v_largest");
        }
        v_store(got, v_sums(block));
        EXPECT(first_difference(got, sums, VL) == VL, "v_sums");
        v_store(got, v_maxes(copy));
        EXPECT(first_difference(got, maxes, VL) == VL, "v_maxes");
    }
}

/* ---------------------------------------------------------------- transpose */

static void test_transpose_of_every_shape(void)
{
    enum { MOST = 2 * VL + 1, STRIDE = MOST + 3 };
    for (long rows = 0; rows <= VL; rows++) {
        for (long columns = 0; columns <= MOST; columns++) {
            real target[(MOST + 1) * STRIDE], expected[(MOST + 1) * STRIDE];
            fill(end_of_memory - SIZE, SIZE, NOT_READ);
            fill(target, (MOST + 1) * STRIDE, SENTINEL), fill(expected, (MOST + 1) * STRIDE, SENTINEL);
            real *source = end_of_memory - (rows ? (rows - 1) * STRIDE + columns : 0);
            for (long j = 0; j < columns; j++) {
                fill(expected + j * STRIDE, VL, 0);
                for (long i = 0; i < rows; i++)
                    expected[j * STRIDE + i] = source[i * STRIDE + j] = fraction();
            }
            transpose_rows(source, STRIDE, rows, columns, target, STRIDE);
            EXPECT(first_difference(target, expected, (MOST + 1) * STRIDE) == (MOST + 1) * STRIDE, "%ld x %ld", rows,
                   columns);
        }
    }
}

/* ---------------------------------------------------------------- dots */

static void test_dots_of_every_number_of_rows(void)
{
    static real x[DEPTH + VL], apart[3 * (DEPTH + VL)]; /* the same vectors of x, three apart */
    EACH(d, DEPTHS)
    {
        const long n = DEPTHS[d], stride = n + 1;
        for (long i = 0; i < DEPTH + VL; i++)
            apart[i / VL * 3 * VL + i % VL] = x[i] = whole_number();
        for (long rows = 1; rows <= VL + 1; rows++) {
            fill(end_of_memory - SIZE, SIZE, NOT_READ);
            real *W = end_of_memory - ((rows - 1) * stride + n);
            real expected[VL + 1], got[VL];
            for (long r = 0; r < rows; r++) {
                double sum = 0;
                for (long i = 0; i < n; i++)
                    sum += (double)(W[r * stride + i] = whole_number()) * (double)x[i];
                expected[r] = (real)sum;
                EXPECT(dot(W + r * stride, x, VL, n) == expected[r], "dot of %ld numbers", n);
                EXPECT(dot(W + r * stride, apart, 3 * VL, n) == expected[r], "dot of %ld numbers apart", n);
            }
            for (long r = rows; r < VL; r++)
                expected[r] = expected[rows - 1];
            v_store(got, dots(W, stride, rows, x, VL, n));
            EXPECT(first_difference(got, expected, VL) == VL, "%ld rows of %ld", rows, n);
            v_store(got, dots(W, stride, rows, apart, 3 * VL, n));
            EXPECT(first_difference(got, expected, VL) == VL, "%ld rows of %ld apart", rows, n);
        }
    }
}

/* ---------------------------------------------------------------- tiles */

static real A[SIZE], B[SIZE], C[SIZE], EXPECTED[SIZE];

/* A product by rows: shapes, strides with room after each panel, and where each number lies. */
typedef struct {
    long rows, depth, a_stride, c_stride;
    int vectors;
    real start[PAIR];
} by_rows;

static by_rows draw_by_rows(long rows, int vectors, long depth, source_of_numbers number)
{
    by_rows p = {.rows = rows, .depth = depth, .vectors = vectors};
    p.a_stride = (rows + 1) * VL, p.c_stride = (rows + 2) * VL;
    fill(A, SIZE, NOT_READ), fill(B, SIZE, NOT_READ);
    for (long k = 0; k < depth; k++) {
        for (long r = 0; r < rows; r++)
            A[k / VL * p.a_stride + r * VL + k % VL] = number();
        for (int lane = 0; lane < vectors * VL; lane++)
            B[k * vectors * VL + lane] = number();
    }
    for (int lane = 0; lane < PAIR; lane++)
        p.start[lane] = number();
    return p;
}

static void test_product_by_rows(long rows, int vectors, long depth, int resume, real floor)
{
    const by_rows p = draw_by_rows(rows, vectors, depth, whole_number);
    fill(C, SIZE, SENTINEL), fill(EXPECTED, SIZE, SENTINEL);
    for (long r = 0; r < rows; r++) {
        for (int lane = 0; lane < vectors * VL; lane++) {
            const long at = lane / VL * p.c_stride + r * VL + lane % VL;
            double sum = (double)(resume ? C[at] = whole_number() : p.start[lane]);
            for (long k = 0; k < depth; k++)
                sum += (double)A[k / VL * p.a_stride + r * VL + k % VL] * (double)B[k * vectors * VL + lane];
            EXPECTED[at] = sum > (double)floor ? (real)sum : floor;
        }
    }
    const ends e = {.start = resume ? NULL : p.start, .floor = floor};
    product_by_rows(rows, vectors, A, p.a_stride, B, depth, &e, C, p.c_stride);
    const long at = first_difference(C, EXPECTED, SIZE);
    EXPECT(at == SIZE, "%ld rows, %d vectors, depth %ld, resume %d, floor %g: number %ld is %g, expected %g", rows,
           vectors, depth, resume, (double)floor, at, (double)C[at % SIZE], (double)EXPECTED[at % SIZE]);
}

/* The canonical order of summation: neither cuts of the depth (at whole panels) nor tile shapes show in the bits. */
static void test_bits_of_a_product_by_rows(long rows, int vectors)
{
    const by_rows p = draw_by_rows(rows, vectors, DEPTH, fraction);
    const ends whole_chain = {.start = zero_lanes, .floor = (real)-INFINITY}, rest = {.floor = (real)-INFINITY};
    fill(C, SIZE, SENTINEL), fill(EXPECTED, SIZE, SENTINEL);
    for (long r = 0; r < rows; r++)
        product_by_rows(1, vectors, A + r * VL, p.a_stride, B, DEPTH, &whole_chain, EXPECTED + r * VL, p.c_stride);
    product_by_rows(rows, vectors, A, p.a_stride, B, DEPTH, &whole_chain, C, p.c_stride);
    EXPECT(first_difference(C, EXPECTED, SIZE) == SIZE, "%ld rows together and one by one, %d vectors", rows, vectors);

    const long cut = 3 * VL;
    fill(C, SIZE, SENTINEL);
    product_by_rows(rows, vectors, A, p.a_stride, B, cut, &whole_chain, C, p.c_stride);
    product_by_rows(rows, vectors, A + 3 * p.a_stride, p.a_stride, B + cut * vectors * VL, DEPTH - cut, &rest, C,
                    p.c_stride);
    EXPECT(first_difference(C, EXPECTED, SIZE) == SIZE, "%ld rows, %d vectors, depth cut at %ld", rows, vectors, cut);
}

enum { B_STRIDE = (DEPTH + 1) * VL };

static void draw_by_features(long features, int vectors, long depth, source_of_numbers number)
{
    fill(A, SIZE, NOT_READ), fill(B, SIZE, NOT_READ);
    for (long k = 0; k < depth; k++) {
        for (long r = 0; r < features; r++)
            A[k * VL + r] = number();
        for (int lane = 0; lane < vectors * VL; lane++)
            B[lane / VL * B_STRIDE + k * VL + lane % VL] = number();
    }
}

static void test_product_by_features(long features, int vectors, long depth, int resume, long lanes)
{
    const long c_stride = lanes + 3;
    draw_by_features(features, vectors, depth, whole_number);
    fill(C, SIZE, SENTINEL), fill(EXPECTED, SIZE, SENTINEL);
    for (long r = 0; r < features; r++) {
        for (long lane = 0; lane < lanes; lane++) {
            double sum = resume ? (double)(C[r * c_stride + lane] = whole_number()) : 0;
            for (long k = 0; k < depth; k++)
                sum += (double)A[k * VL + r] * (double)B[lane / VL * B_STRIDE + k * VL + lane % VL];
            EXPECTED[r * c_stride + lane] = (real)sum;
        }
    }
    product_by_features(features, vectors, A, B, B_STRIDE, depth, resume, C, c_stride, lanes);
    const long at = first_difference(C, EXPECTED, SIZE);
    EXPECT(at == SIZE, "%ld features, %d vectors, depth %ld, resume %d, %ld lanes: number %ld is %g, expected %g",
           features, vectors, depth, resume, lanes, at, (double)C[at % SIZE], (double)EXPECTED[at % SIZE]);
}

static void test_bits_of_a_product_by_features(long features, int vectors)
{
    const long lanes = vectors * VL, cut = 100;
    draw_by_features(features, vectors, DEPTH, fraction);
    fill(C, SIZE, SENTINEL), fill(EXPECTED, SIZE, SENTINEL);
    for (long r = 0; r < features; r++)
        for (int v = 0; v < vectors; v++)
            product_by_features(1, 1, A + r, B + v * B_STRIDE, B_STRIDE, DEPTH, 0, EXPECTED + r * lanes + v * VL, lanes,
                                VL);
    product_by_features(features, vectors, A, B, B_STRIDE, DEPTH, 0, C, lanes, lanes);
    EXPECT(first_difference(C, EXPECTED, SIZE) == SIZE, "%ld features together and one by one, %d vectors", features,
           vectors);

    fill(C, SIZE, SENTINEL);
    product_by_features(features, vectors, A, B, B_STRIDE, cut, 0, C, lanes, lanes);
    product_by_features(features, vectors, A + cut * VL, B + cut * VL, B_STRIDE, DEPTH - cut, 1, C, lanes, lanes);
    EXPECT(first_difference(C, EXPECTED, SIZE) == SIZE, "%ld features, %d vectors, depth cut at %ld", features, vectors,
           cut);
}

static void test_products_of_every_shape(void)
{
    for (long rows = 1; rows <= ROWS; rows++) {
        for (int vectors = 1; vectors <= 2; vectors++) {
            EACH(d, DEPTHS)
            {
                test_product_by_rows(rows, vectors, DEPTHS[d], 0, (real)-INFINITY);
                test_product_by_rows(rows, vectors, DEPTHS[d], 1, 0);
            }
            test_bits_of_a_product_by_rows(rows, vectors);
        }
    }
    for (long features = 1; features <= VL; features++) {
        for (int vectors = 1; vectors <= 3; vectors++) {
            EACH(d, DEPTHS)
            for (long lanes = (vectors - 1) * VL + 1; lanes <= vectors * VL; lanes++)
                test_product_by_features(features, vectors, DEPTHS[d], (int)(lanes + features) % 2, lanes);
            test_bits_of_a_product_by_features(features, vectors);
        }
    }
}

/* ---------------------------------------------------------------- transcendental functions */

static long double sigmoidl(long double x) { return 1 / (1 + expl(-x)); }
static long double softplusl(long double x) { return x > 0 ? x + log1pl(expl(-x)) : log1pl(expl(x)); }

/* |got - exact| in units of the last place of a real of the size of `exact`. */
static double error_in_ulp(real got, long double exact)
{
    const long double largest = REAL_BITS == 32 ? FLT_MAX : DBL_MAX;
    if (isnan(exact) || isnan(got))
        return isnan(exact) && isnan(got) ? 0 : INFINITY;
    if (fabsl(exact) > largest)
        return isinf(got) && (got > 0) == (exact > 0) ? 0 : INFINITY;
    if (isinf(got))
        return INFINITY;
    int exponent = REAL_BITS == 32 ? FLT_MIN_EXP : DBL_MIN_EXP;
    const int digits = REAL_BITS == 32 ? FLT_MANT_DIG : DBL_MANT_DIG;
    if (exact != 0 && ilogbl(exact) + 1 > exponent)
        exponent = ilogbl(exact) + 1;
    return (double)(fabsl((long double)got - exact) / ldexpl(1, exponent - digits));
}

static void test_transcendental_functions(void)
{
    const double allowed = REAL_BITS == 32 ? 3 : 4;
    const real odd[] = {0, (real)-0.0, 1, -1, (real)INFINITY, (real)-INFINITY, (real)NAN, (real)1e-30, 1000, -1000};
    enum { POINTS = 960 };
    static const char *const names[] = {"exp", "expm1", "tanh", "sigmoid", "softplus", "erf"};
    static long double (*const exact[])(long double) = {expl, expm1l, tanhl, sigmoidl, softplusl, erfl};
    double worst[6] = {0};
    for (int i = 0; i < POINTS; i += VL) {
        real x[VL], y[6][VL];
        for (int lane = 0; lane < VL; lane++) /* magnitudes from 2^-20 to 2^7, beyond the range of a float's exp */
            x[lane] = (size_t)(i + lane) < sizeof odd / sizeof *odd
                          ? odd[i + lane]
                          : (real)ldexp((double)fraction(), (int)(draw() % 28) - 20);
        const vec v = v_load(x);
        v_store(y[0], v_exp(v)), v_store(y[1], v_expm1(v)), v_store(y[2], v_tanh(v));
        v_store(y[3], v_sigmoid(v)), v_store(y[4], v_softplus(v)), v_store(y[5], v_erf(v));
        EACH(f, names) for (int lane = 0; lane < VL; lane++)
        {
            const double error = error_in_ulp(y[f][lane], exact[f]((long double)x[lane]));
            worst[f] = error > worst[f] ? error : worst[f];
            EXPECT(error <= allowed, "%s(%.9g) = %.9g is %.3g ulp off", names[f], (double)x[lane], (double)y[f][lane],
                   error);
        }
    }
    EACH(f, names) printf("%s %.2f ulp%s", names[f], worst[f], f + 1 < sizeof names / sizeof *names ? ", " : "\n");
}

int main(void)
{
    reserve_memory();
    test_loads_and_stores_of_first_lanes();
    test_selections();
    test_sums_and_largest_of_lanes();
    test_transpose_of_every_shape();
    test_dots_of_every_number_of_rows();
    test_products_of_every_shape();
    test_transcendental_functions();
    printf("float%d, %d lanes: %ld checks, %ld failed\n", REAL_BITS, VL, checks, failures);
    return failures > 0;
}
