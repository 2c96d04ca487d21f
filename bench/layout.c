/* The three candidate layouts of docs/layout.md as bare products of one layer on a block of rows: I inputs, O outputs.
 *
 *   panels  lanes over features, activations in panels of VL features   (the one the core uses: src/tile.h)
 *   rows    lanes over features, activations row-major, width padded to VL
 *   batch   lanes over the batch, activations in panels of VL rows: [feature][VL rows]
 *
 * Weights are packed into slivers of 2 vectors (panels, rows) or read as they are (batch); depth blocks of KC.
 */
#include "tile.h"

enum { KC = 256 };

static long least(long a, long b) { return a < b ? a : b; }
static int vectors_of(long lanes) { return lanes > VL ? 2 : 1; }
static long part_of(long left) { return next_part(left, TILE_ROWS); }

/* Calls TILE(rows, vectors, ...) with both as constants; vectors are 1 or 2. */
#define ONE_CASE(TILE, R, vectors, ...) \
    case R: \
        if (vectors == 1) \
            TILE(R, 1, __VA_ARGS__); \
        else \
            TILE(R, 2, __VA_ARGS__); \
        break;
/* clang-format off */
#define TILE_DISPATCH(TILE, rows, vectors, ...) \
    switch (rows) { \
        ONE_CASE(TILE, 1, vectors, __VA_ARGS__) \
        ONE_CASE(TILE, 2, vectors, __VA_ARGS__) \
        ONE_CASE(TILE, 3, vectors, __VA_ARGS__) \
        ONE_CASE(TILE, 4, vectors, __VA_ARGS__) \
        ONE_CASE(TILE, 5, vectors, __VA_ARGS__) \
        ONE_CASE(TILE, 6, vectors, __VA_ARGS__) \
        MORE_CASES(TILE, vectors, __VA_ARGS__) \
    }
#if defined(__AVX512F__)
#define MORE_CASES(TILE, vectors, ...) \
    ONE_CASE(TILE, 7, vectors, __VA_ARGS__) \
    ONE_CASE(TILE, 8, vectors, __VA_ARGS__)
#else
#define MORE_CASES(TILE, vectors, ...)
#endif
/* clang-format on */

static long padded(long n) { return (n + VL - 1) / VL * VL; }

/* packed: slivers of up to PAIR columns of a (depth, columns) matrix, sliver after sliver, each (depth, lanes) */

/* panels ------------------------------------------------------------------------------------------------------ */

void panels_product(long rows, long depth, long columns, const real *a, long a_stride, const real *packed,
                    const real *bias, real *c, long c_stride)
{
    for (long k = 0; k < depth; k += KC)
        for (long j = 0; j < columns; j += PAIR) {
            const int vectors = vectors_of(columns - j);
            const ends e = {k ? NULL : bias ? bias + j : zero_lanes, (real)-1e30};
            product_by_rows(rows, vectors, a + k / VL * a_stride, a_stride, packed + j * depth + k * vectors * VL,
                            least(KC, depth - k), &e, c + j / VL * c_stride, c_stride);
        }
}

void panels_outer(long rows, long outputs, long inputs, const real *dy, long dy_stride, const real *x, long x_stride,
                  int resume, real *dw)
{
    for (long i = 0, part; i < inputs; i += part * VL) {
        part = next_part((inputs - i + VL - 1) / VL, 3);
        for (long o = 0; o < outputs; o += VL)
            product_by_features(least(VL, outputs - o), part, dy + o / VL * dy_stride, x + i / VL * x_stride, x_stride,
                                rows, resume, dw + o * inputs + i, inputs, least(part * VL, inputs - i));
    }
}

/* rows -------------------------------------------------------------------------------------------------------- */

FASTBP_INLINE void rows_tile(const int R, const int V, const real *a, long a_stride, const real *b, long depth,
                             const real *start, real *c, long c_stride)
{
    accumulators acc;
    FOR_ROWS FOR_VECTORS acc[r][v] = start ? v_load(start + v * VL) : v_load(c + r * c_stride + v * VL);
    for (long k = 0; k < depth; k++) {
        vec b_k[2];
        FOR_VECTORS b_k[v] = v_load(b + (k * V + v) * VL);
        tile_step(R, V, acc, a + k, a_stride, b_k);
    }
    FOR_ROWS FOR_VECTORS v_store(c + r * c_stride + v * VL, acc[r][v]);
}

void rows_product(long rows, long depth, long columns, const real *a, long a_stride, const real *packed,
                  const real *bias, real *c, long c_stride)
{
    for (long k = 0; k < depth; k += KC)
        for (long j = 0; j < columns; j += PAIR) {
            const int vectors = vectors_of(columns - j);
            const real *start = k ? NULL : bias ? bias + j : zero_lanes;
            for (long r = 0, n; r < rows; r += n) {
                n = part_of(rows - r);
                TILE_DISPATCH(rows_tile, n, vectors, a + r * a_stride + k, a_stride,
                              packed + j * depth + k * vectors * VL, least(KC, depth - k), start, c + r * c_stride + j,
                              c_stride)
            }
        }
}

FASTBP_INLINE void rows_outer_tile(const int R, const int V, const real *a, long a_stride, const real *b, long b_stride,
                                   long depth, int resume, real *c, long c_stride, long lanes)
{
    accumulators acc;
    const long tail = lanes - (V - 1) * VL;
    FOR_ROWS FOR_VECTORS acc[r][v] = v_zero();
    if (resume) {
        FOR_ROWS FOR_VECTORS acc[r][v] = v_load_first(c + r * c_stride + v * VL, v < V - 1 ? (long)VL : tail);
    }
    for (long k = 0; k < depth; k++) {
        vec b_k[2];
        FOR_VECTORS b_k[v] = v_load(b + k * b_stride + v * VL);
        tile_step(R, V, acc, a + k * a_stride, 1, b_k);
    }
    FOR_ROWS FOR_VECTORS v_store_first(c + r * c_stride + v * VL, acc[r][v], v < V - 1 ? (long)VL : tail);
}

void rows_outer(long rows, long outputs, long inputs, const real *dy, long dy_stride, const real *x, long x_stride,
                int resume, real *dw)
{
    for (long i = 0; i < inputs; i += PAIR)
        for (long o = 0, n; o < outputs; o += n) {
            n = part_of(outputs - o);
            TILE_DISPATCH(rows_outer_tile, n, vectors_of(inputs - i), dy + o, dy_stride, x + i, x_stride, rows, resume,
                          dw + o * inputs + i, inputs, least(PAIR, inputs - i))
        }
}

/* batch: a (rows of weights, depth), b panels [depth][VL rows] -------------------------------------------------- */

FASTBP_INLINE void batch_tile(const int R, const int V, const real *a, long row_step, long depth_step, const real *b,
                              long b_stride, long depth, const real *bias, real *c)
{
    accumulators acc;
    FOR_ROWS FOR_VECTORS acc[r][v] = bias ? v_splat(bias[r]) : v_zero();
    for (long k = 0; k < depth; k++) {
        vec b_k[2];
        FOR_VECTORS b_k[v] = v_load(b + k * VL + v * b_stride);
        tile_step(R, V, acc, a + k * depth_step, row_step, b_k);
    }
    FOR_ROWS FOR_VECTORS v_store(c + r * VL + v * b_stride, acc[r][v]); /* c and b share the stride of the block */
}

void batch_product(long rows, long depth, long columns, const real *w, long column_step, long depth_step, const real *x,
                   long stride, const real *bias, real *y)
{
    for (long r = 0; r < rows; r += PAIR)
        for (long j = 0, n; j < columns; j += n) {
            n = part_of(columns - j);
            TILE_DISPATCH(batch_tile, n, vectors_of(rows - r), w + j * column_step, column_step, depth_step,
                          x + r / VL * stride, stride, depth, bias ? bias + j : NULL, y + r / VL * stride + j * VL)
        }
}

/* dW[o][i] is a dot product over rows: accumulators of R outputs x 2 inputs, summed over their lanes at the end. */
FASTBP_INLINE void batch_outer_tile(const int R, const int V, const real *dy, const real *x, long stride, long rows,
                                    int resume, real *dw, long inputs)
{
    accumulators acc;
    FOR_ROWS FOR_VECTORS acc[r][v] = v_zero();
    for (long p = 0; p < rows; p += VL, dy += stride, x += stride) {
        vec x_v[2];
        FOR_VECTORS x_v[v] = v_load(x + v * VL);
        FOR_ROWS FOR_VECTORS acc[r][v] = v_fma(v_load(dy + r * VL), x_v[v], acc[r][v]);
    }
    FOR_ROWS FOR_VECTORS dw[r * inputs + v] = v_sum(acc[r][v]) + (resume ? dw[r * inputs + v] : 0);
}

void batch_outer(long rows, long outputs, long inputs, const real *dy, const real *x, long stride, int resume, real *dw)
{
    for (long i = 0; i < inputs; i += 2)
        for (long o = 0, n; o < outputs; o += n) {
            n = part_of(outputs - o);
            TILE_DISPATCH(batch_outer_tile, n, least(2, inputs - i), dy + o * VL, x + i * VL, stride, rows, resume,
                          dw + o * inputs + i, inputs)
        }
}

/* One pass of a net over `batch` rows in blocks of `block`, `times` over: product 0 forward, 1 dX, 2 dW; layout 0, 1, 2.
 * The buffers hold numbers of no meaning (the caller fills them with small ones); each is as large as the widest layer
 * asks. `skew` keeps panels off multiples of 4 KiB. */
void run(int layout, int product, int n_layers, const long *sizes, long batch, long block, int times, real *x, real *y,
         real *weights, real *packed, real *dw, long skew)
{
    for (int t = 0; t < times; t++)
        for (long r = 0; r < batch; r += block) {
            const long rows = least(block, batch - r), stride = rows * VL + skew;
            const real *w = weights;
            for (int l = 0; l < n_layers; l++) {
                const long I = sizes[l], O = sizes[l + 1];
                if (layout == 0) {
                    if (product == 0)
                        panels_product(rows, I, O, x, stride, packed, weights, y, stride);
                    else if (product == 1 && l > 0)
                        panels_product(rows, O, I, y, stride, packed, NULL, x, stride);
                    else if (product == 2)
                        panels_outer(rows, O, I, y, stride, x, stride, r > 0, dw);
                } else if (layout == 1) {
                    if (product == 0)
                        rows_product(rows, I, O, x, padded(I), packed, weights, y, padded(O));
                    else if (product == 1 && l > 0)
                        rows_product(rows, O, I, y, padded(O), packed, NULL, x, padded(I));
                    else if (product == 2)
                        rows_outer(rows, O, I, y, padded(O), x, padded(I), r > 0, dw);
                } else {
                    const long widest = I > O ? I : O, panel = widest * VL + skew;
                    if (product == 0)
                        batch_product(rows, I, O, w, I, 1, x, panel, weights, y);
                    else if (product == 1 && l > 0)
                        batch_product(rows, O, I, w, 1, I, y, panel, NULL, x);
                    else if (product == 2)
                        batch_outer(rows, O, I, y, x, panel, r > 0, dw);
                }
                w += I * O;
            }
        }
}
