// One decode step of DaisyCore for a few rows, on a CPU: what core/model computes, read from where its weights lie.
//
// A token needs every weight once, so memory sets the pace, and a library's product for few rows does not reach it
// (a third of the read bandwidth with one row, a sixth with eight; here two to three times that). So every weight is
// loaded once for all rows, fetched ahead of its use, and the whole step is one parallel region. Matrices are stored as
// torch has them:
//
//   [out, in] (query, key, value; up; head): each output is a dot product with a row of the matrix;
//   [in, out] (output projection; down):     each input adds a multiple of a row. The inputs are cut into CHUNKS
//                                            parts, whose sums are joined afterwards in their order.
//
// Threads take tiles of rows, heads, or parts, whoever is free first. No result depends on who took what, on the
// number of threads, or on the other rows of the batch: the sums of a row are always made in the same order. That is
// why products and sums are fused by hand or not at all (-ffp-contract=off), and why there is no -ffast-math.

#include <math.h>
#include <omp.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__) && defined(__FMA__)
#define LANES 8
#else
#define LANES 4
#endif

typedef float Vector __attribute__((vector_size(4 * LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));

INLINE Vector load(const float *from) {
    Vector v;
    memcpy(&v, from, sizeof v);
    return v;
}

INLINE void store(float *to, Vector v) { memcpy(to, &v, sizeof v); }

INLINE Vector all(float value) { return value - (Vector){0}; }

// a * b + c. Rounded once where the machine can, and then in every kernel.
INLINE Vector fma_(Vector a, Vector b, Vector c) {
#if LANES == 16
    return (Vector)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif LANES == 8
    return (Vector)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__ARM_NEON) && defined(__aarch64__)
    return (Vector)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}

// The sum of the lanes, halves onto halves.
INLINE float sum(Vector v) {
#if LANES == 4
    return (v[0] + v[2]) + (v[1] + v[3]);
#else
#if LANES == 16
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256((__m512)v),
                                _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd((__m512)v), 1)));
#else
    __m256 half = (__m256)v;
#endif
    __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    quarter = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
    return _mm_cvtss_f32(_mm_add_ss(quarter, _mm_movehdup_ps(quarter)));
#endif
}

INLINE Vector choose(Ints mask, Vector yes, Vector no) {
    return (Vector)(((Ints)yes & mask) | ((Ints)no & ~mask));
}

// e^x for x <= 88, to 2e-7 of it: 2^n times a Taylor polynomial of what is left, at most ln(2) / 2.
INLINE Vector exp_(Vector x) {
    x = choose((Ints)(x < all(-87.0f)), all(-87.0f), x);
    const Vector shift = all(12582912.0f);  // 1.5 * 2^23: rounds to a whole number, kept in the low bits
    const Vector n = fma_(x, all(1.44269504f), shift);
    const Vector whole = n - shift;
    const Vector rest = fma_(whole, all(-1.42860677e-6f), fma_(whole, all(-0.693145752f), x));
    Vector y = all(1.0f / 5040);
    const float taylor[7] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
    UNROLL for (int i = 0; i < 7; i++) y = fma_(y, rest, all(taylor[i]));
    return (Vector)((Ints)y + (((Ints)n - (Ints)shift) << 23));
}

// tanh, by e^(-2|x|) where that loses no digits and by its series near zero.
INLINE Vector tanh_(Vector x) {
    const Ints sign = (Ints)x & (Ints)all(-0.0f);
    const Vector size = (Vector)((Ints)x ^ sign), square = x * x;
    const Vector e = exp_(all(-2.0f) * size);
    const Vector far = (Vector)((Ints)((all(1.0f) - e) / (all(1.0f) + e)) | sign);
    Vector near = all(62.0f / 2835);
    const float series[4] = {-17.0f / 315, 2.0f / 15, -1.0f / 3, 1.0f};
    UNROLL for (int i = 0; i < 4; i++) near = fma_(near, square, all(series[i]));
    return choose((Ints)(size < all(0.25f)), near * x, far);
}

enum { FLOAT32, BFLOAT16, INT8 };

// Into the second-level cache, whose misses are many at a time: a core that waits for its first-level cache alone reads
// at half the rate. So far ahead that memory has answered; a processor's own prefetching stops at every page.
enum { AHEAD = 12288 };
INLINE void prefetch(const char *from) { __builtin_prefetch(from, 0, 2); }

INLINE int bytes(int kind) { return kind == FLOAT32 ? 4 : kind == BFLOAT16 ? 2 : 1; }

// LANES weights as they stand, from place `at` of a row.
INLINE Vector weights(int kind, const char *row, int64_t at) {
    if (kind == FLOAT32) return load((const float *)row + at);
    if (kind == BFLOAT16) {
        uint16_t half __attribute__((vector_size(2 * LANES)));
        memcpy(&half, (const uint16_t *)row + at, sizeof half);
#if LANES == 16
        return (Vector)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)half), 16);
#elif LANES == 8
        return (Vector)_mm256_slli_epi32(_mm256_cvtepu16_epi32((__m128i)half), 16);
#else
        return (Vector)(__builtin_convertvector(half, Ints) << 16);
#endif
    }
#if LANES == 16
    return (Vector)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(row + at))));
#elif LANES == 8
    return (Vector)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(row + at))));
#else
    int8_t small __attribute__((vector_size(LANES)));
    memcpy(&small, row + at, sizeof small);
    return __builtin_convertvector(small, Vector);
#endif
}

INLINE float weight(int kind, const char *row, int64_t at) {
    if (kind == FLOAT32) return ((const float *)row)[at];
    if (kind == INT8) return (float)((const int8_t *)row)[at];
    const uint32_t bits = (uint32_t)((const uint16_t *)row)[at] << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

// What native.py fills in; the same structures stand there.

typedef struct {
    const char *data;    // rows one after another, in the model's kind
    const float *scale;  // of each row; for int8 alone
} Matrix;

typedef struct {
    Matrix qkv, out, up, down;
    float *keys, *values;      // (slots, heads, ring, head_dim)
    const float *value_table;  // (vocabulary, dim), or null
    int64_t ring, window;
    int64_t skip_from;  // the layer whose output is added, or -1
    float residual, x0, skip, value;
} Layer;

typedef struct {
    int64_t layers, heads, head_dim, dim, hidden, vocabulary, kind, skips;
    const float *embed;
    Matrix head;
    const Layer *layer;
    float softcap;
} Model;

// Parts of the inputs that are summed apart; most rows and most inputs that one kernel takes; phases of a layer.
enum { CHUNKS = 16, BLOCK = 8, GROUP = 4, PHASES = 7 };

// Lets native.py see that both sides mean the same structures.
int64_t daisy_layout(void) { return (int64_t)(sizeof(Model) * 1000 + sizeof(Layer)); }

// Rows of x held in registers times outputs held in registers: as many sums as the machine has room for.
#define OUTPUTS(rows) (LANES == 16 ? ((rows) == 8 ? 2 : 4) : ((rows) == 8 ? 1 : (rows) == 4 ? 2 : 4))

INLINE void dots(const int kind, const int rows, const int outputs, const char *w, const float *x, int64_t n,
                 float *y, int64_t stride) {
    Vector sums[4][BLOCK];
    const int64_t row_bytes = n * bytes(kind);
    const int line = 64 / bytes(kind);  // weights of one cache line
    UNROLL for (int o = 0; o < outputs; o++) UNROLL for (int r = 0; r < rows; r++) sums[o][r] = all(0);
    int64_t k = 0;
#define MULTIPLY(at)                                                                        \
    do {                                                                                    \
        Vector ws[4];                                                                       \
        UNROLL for (int o = 0; o < outputs; o++) ws[o] = weights(kind, w + o * row_bytes, at); \
        UNROLL for (int r = 0; r < rows; r++) {                                             \
            const Vector xs = load(x + r * n + (at));                                       \
            UNROLL for (int o = 0; o < outputs; o++) sums[o][r] = fma_(ws[o], xs, sums[o][r]); \
        }                                                                                   \
    } while (0)
    for (; k + line <= n; k += line) {
        UNROLL for (int o = 0; o < outputs; o++) prefetch(w + o * row_bytes + k * bytes(kind) + AHEAD);
        UNROLL for (int lane = 0; lane < line; lane += LANES) MULTIPLY(k + lane);
    }
    for (; k + LANES <= n; k += LANES) MULTIPLY(k);
#undef MULTIPLY
    for (int o = 0; o < outputs; o++)
        for (int r = 0; r < rows; r++) {
            float total = sum(sums[o][r]);
            for (int64_t i = k; i < n; i++) total += weight(kind, w + o * row_bytes, i) * x[r * n + i];
            y[r * stride + o] = total;
        }
}

INLINE void dots_of_block(const int kind, const int rows, const char *w, const float *x, int64_t n, float *y,
                          int64_t stride, int outputs) {
    int o = 0;
    for (; o + OUTPUTS(rows) <= outputs; o += OUTPUTS(rows))
        dots(kind, rows, OUTPUTS(rows), w + o * n * bytes(kind), x, n, y + o, stride);
    for (; o < outputs; o++) dots(kind, rows, 1, w + o * n * bytes(kind), x, n, y + o, stride);
}

// y (rows, stride): outputs `begin` to `end` of x (rows, n). All rows use four weights' rows before the next are read.
INLINE void dot_tile_of(const int kind, Matrix m, const float *x, int64_t rows, int64_t n, float *y, int64_t stride,
                     int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; o += 4) {
        const int count = end - o < 4 ? (int)(end - o) : 4;
        const char *w = m.data + o * n * bytes(kind);
        for (int64_t r = 0, step; r < rows; r += step) {
            const int64_t left = rows - r;
            step = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
            const float *xs = x + r * n;
            float *ys = y + r * stride + o;
            if (step == 8) dots_of_block(kind, 8, w, xs, n, ys, stride, count);
            else if (step == 4) dots_of_block(kind, 4, w, xs, n, ys, stride, count);
            else if (step == 2) dots_of_block(kind, 2, w, xs, n, ys, stride, count);
            else dots_of_block(kind, 1, w, xs, n, ys, stride, count);
        }
        if (kind == INT8)
            for (int64_t r = 0; r < rows; r++)
                for (int i = 0; i < count; i++) y[r * stride + o + i] *= m.scale[o + i];
    }
}

static __attribute__((noinline)) void dot_tile(int64_t kind, Matrix m, const float *x, int64_t rows, int64_t n,
                                               float *y, int64_t stride, int64_t begin, int64_t end) {
    if (kind == FLOAT32) dot_tile_of(FLOAT32, m, x, rows, n, y, stride, begin, end);
    else if (kind == BFLOAT16) dot_tile_of(BFLOAT16, m, x, rows, n, y, stride, begin, end);
    else dot_tile_of(INT8, m, x, rows, n, y, stride, begin, end);
}

INLINE void add_rows(const int kind, const int rows, const char *const w[GROUP], const char *const next[GROUP],
                     const float factors[][GROUP], int64_t n, float *y) {
    Vector f[BLOCK][GROUP];
    const int line = 64 / bytes(kind);
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int i = 0; i < GROUP; i++) f[r][i] = all(factors[r][i]);
    int64_t k = 0;
#define ADD(at)                                                                      \
    do {                                                                             \
        Vector ws[GROUP];                                                            \
        UNROLL for (int i = 0; i < GROUP; i++) ws[i] = weights(kind, w[i], at);      \
        UNROLL for (int r = 0; r < rows; r++) {                                      \
            Vector total = load(y + r * n + (at));                                   \
            UNROLL for (int i = 0; i < GROUP; i++) total = fma_(f[r][i], ws[i], total); \
            store(y + r * n + (at), total);                                          \
        }                                                                            \
    } while (0)
    for (; k + line <= n; k += line) {
        UNROLL for (int i = 0; i < GROUP; i++) prefetch(next[i] + k * bytes(kind));
        UNROLL for (int lane = 0; lane < line; lane += LANES) ADD(k + lane);
    }
    for (; k + LANES <= n; k += LANES) ADD(k);
#undef ADD
    for (; k < n; k++)
        for (int r = 0; r < rows; r++)
            for (int i = 0; i < GROUP; i++) y[r * n + k] += factors[r][i] * weight(kind, w[i], k);
}

// y (rows, n) = inputs `begin` to `end` of x (rows, inputs), times their rows of the matrix. Inputs that are zero in
// every row (squared ReLU leaves many) are not read.
INLINE void add_tile_of(const int kind, Matrix m, const float *x, int64_t rows, int64_t inputs, int64_t n, float *y,
                     int64_t begin, int64_t end) {
    enum { MOST = 8 * GROUP };
    int64_t used[MOST + GROUP];  // the next inputs that count, of which the last are far enough ahead to be prefetched
    const int64_t row_bytes = n * bytes(kind), far = AHEAD / row_bytes / GROUP * GROUP;
    const int ahead = far < GROUP ? GROUP : far > MOST ? MOST : (int)far;
    int held = 0;
    memset(y, 0, sizeof(float) * (size_t)(rows * n));
    for (int64_t at = begin; at < end || held > 0;) {
        for (; at < end && held < ahead + GROUP; at++)
            for (int64_t r = 0; r < rows; r++)
                if (x[r * inputs + at] != 0) {
                    used[held++] = at;
                    break;
                }
        if (held == 0) break;
        const int count = held < GROUP ? held : GROUP;
        const char *w[GROUP], *next[GROUP];
        for (int i = 0; i < GROUP; i++) {
            w[i] = m.data + used[i < count ? i : 0] * row_bytes;
            next[i] = ahead + i < held ? m.data + used[ahead + i] * row_bytes : w[i];
        }
        for (int64_t r = 0, step; r < rows; r += step) {
            const int64_t left = rows - r;
            step = LANES == 16 && left >= 4 ? 4 : left >= 2 ? 2 : 1;
            float factors[4][GROUP] = {{0}};
            for (int64_t j = 0; j < step; j++)
                for (int i = 0; i < count; i++)
                    factors[j][i] = x[(r + j) * inputs + used[i]] * (kind == INT8 ? m.scale[used[i]] : 1.0f);
            if (step == 4) add_rows(kind, 4, w, next, (const float(*)[GROUP])factors, n, y + r * n);
            else if (step == 2) add_rows(kind, 2, w, next, (const float(*)[GROUP])factors, n, y + r * n);
            else add_rows(kind, 1, w, next, (const float(*)[GROUP])factors, n, y + r * n);
        }
        held -= count;
        memmove(used, used + count, sizeof used[0] * (size_t)held);
    }
}

static __attribute__((noinline)) void add_tile(int64_t kind, Matrix m, const float *x, int64_t rows, int64_t inputs,
                                               int64_t n, float *y, int64_t begin, int64_t end) {
    if (kind == FLOAT32) add_tile_of(FLOAT32, m, x, rows, inputs, n, y, begin, end);
    else if (kind == BFLOAT16) add_tile_of(BFLOAT16, m, x, rows, inputs, n, y, begin, end);
    else add_tile_of(INT8, m, x, rows, inputs, n, y, begin, end);
}

static float dot(const float *a, const float *b, int64_t n) {
    Vector sums = all(0);
    int64_t k = 0;
    for (; k + LANES <= n; k += LANES) sums = fma_(load(a + k), load(b + k), sums);
    float total = sum(sums);
    for (; k < n; k++) total += a[k] * b[k];
    return total;
}

// RMS norm without a learned scale; epsilon is that of fp32, as torch has it.
static void norm(const float *x, float *y, int64_t n) {
    const float factor = 1.0f / sqrtf(dot(x, x, n) / (float)n + 1.1920929e-7f);
    for (int64_t k = 0; k < n; k++) y[k] = x[k] * factor;
}

static void rotate(float *x, const float *cosine, const float *sine, int64_t half) {
    for (int64_t k = 0; k < half; k++) {
        const float first = x[k], second = x[k + half];
        x[k] = first * cosine[k] + second * sine[k];
        x[k + half] = second * cosine[k] - first * sine[k];
    }
}

// One head of one row: its key and value go into the ring, then it attends to what the window holds, oldest first.
static void attend(const Model *model, const Layer *layer, int64_t head, int64_t token, int64_t slot, int64_t position,
                   const float *cosine, const float *sine, float *qkv, float *scores, float *y) {
    const int64_t size = model->head_dim, ring = layer->ring;
    float *q = qkv + head * size, *k = q + model->dim, *v = k + model->dim;
    float *keys = layer->keys + (slot * model->heads + head) * ring * size;
    float *values = layer->values + (slot * model->heads + head) * ring * size;
    if (layer->value_table) {
        const float *extra = layer->value_table + token * model->dim + head * size;
        for (int64_t i = 0; i < size; i++) v[i] += layer->value * extra[i];
    }
    norm(q, q, size);
    norm(k, k, size);
    rotate(q, cosine, sine, size / 2);
    rotate(k, cosine, sine, size / 2);
    memcpy(keys + position % ring * size, k, sizeof(float) * (size_t)size);
    memcpy(values + position % ring * size, v, sizeof(float) * (size_t)size);

    const int64_t count = position + 1 < layer->window ? position + 1 : layer->window;
    const int64_t first = (position + 1 - count) % ring;
    const float scale = 1.0f / sqrtf((float)size);
    float most = -INFINITY;
    for (int64_t i = 0, place = first; i < count; i++, place = place + 1 < ring ? place + 1 : 0) {
        scores[i] = scale * dot(q, keys + place * size, size);
        most = scores[i] > most ? scores[i] : most;
    }
    Vector totals = all(0);
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        const Vector e = exp_(load(scores + i) - all(most));
        store(scores + i, e);
        totals += e;
    }
    float total = sum(totals);
    for (; i < count; i++) {
        scores[i] = exp_(all(scores[i] - most))[0];
        total += scores[i];
    }
    // Four vectors of the head at a time stay in registers over all keys.
    int64_t at = 0;
    for (; at + LANES <= size;) {
        const int wide = at + 4 * LANES <= size ? 4 : 1;
        Vector sums[4] = {all(0), all(0), all(0), all(0)};
        for (int64_t j = 0, place = first; j < count; j++, place = place + 1 < ring ? place + 1 : 0) {
            const float *value = values + place * size + at;
            const Vector score = all(scores[j]);
            if (wide == 4) UNROLL for (int l = 0; l < 4; l++) sums[l] = fma_(score, load(value + l * LANES), sums[l]);
            else sums[0] = fma_(score, load(value), sums[0]);
        }
        for (int l = 0; l < wide; l++) store(y + at + l * LANES, sums[l] / all(total));
        at += wide * LANES;
    }
    for (; at < size; at++) {
        float mixed = 0;
        for (int64_t j = 0, place = first; j < count; j++, place = place + 1 < ring ? place + 1 : 0)
            mixed += scores[j] * values[place * size + at];
        y[at] = mixed / total;
    }
}

static void square(float *y, int64_t n) {
    for (int64_t k = 0; k < n; k++) y[k] = y[k] > 0 ? y[k] * y[k] : y[k] <= 0 ? 0 : y[k];  // NaN stays NaN
}

static void cap(float *y, int64_t n, float limit) {
    int64_t k = 0;
    for (; k + LANES <= n; k += LANES) store(y + k, all(limit) * tanh_(load(y + k) / all(limit)));
    for (; k < n; k++) y[k] = limit * tanh_(all(y[k] / limit))[0];
}

// What goes into a layer: skip, residual and x0 are mixed into the stream.
static void mix(const Layer *layer, float *x, const float *x0, const float *skip, int64_t n) {
    if (skip)
        for (int64_t k = 0; k < n; k++) x[k] += layer->skip * skip[k];
    for (int64_t k = 0; k < n; k++) x[k] *= layer->residual;
    if (layer->x0 != 0)
        for (int64_t k = 0; k < n; k++) x[k] += layer->x0 * x0[k];
}

// The work between two points where all must be done: its tasks are taken in turn, and those done are counted. Unlike
// a barrier this waits for work, never for a thread: one that the system has put aside (other programs run on this
// machine too) is missed by nobody unless it holds a task, and finds nothing left to do where it comes late.
typedef struct {
    int32_t taken, done;
    int32_t apart[14];  // a cache line each
} Phase;

INLINE int64_t take(Phase *phase) { return __atomic_fetch_add(&phase->taken, 1, __ATOMIC_RELAXED); }
INLINE void finish(Phase *phase) { __atomic_fetch_add(&phase->done, 1, __ATOMIC_RELEASE); }

static void wait_for(Phase *phase, int64_t tasks) {
    for (int spins = 0; __atomic_load_n(&phase->done, __ATOMIC_ACQUIRE) < tasks; spins++) {
        if (spins > 4096) sched_yield();
#if defined(__x86_64__)
        else __builtin_ia32_pause();
#endif
    }
}

#define FOR_TASKS(task, phase, tasks) for (int64_t task; (task = take(phase)) < (tasks); finish(phase))

// Buffers of one step, in the caller's workspace.
typedef struct {
    const Model *model;
    int64_t rows, score_size;
    float *x, *x0, *normed, *skips, *qkv, *merged, *hidden, *parts, *scores;
    Phase *phases;
} Step;

// Lays a step out from `base` on, and returns the bytes that it takes.
static int64_t lay_out(Step *step, const Model *model, int64_t rows, int64_t threads, char *base) {
    const int64_t wide = rows * model->dim;
    int64_t window = 0, at = 0;
    for (int64_t l = 0; l < model->layers; l++)
        window = model->layer[l].window > window ? model->layer[l].window : window;
    step->model = model, step->rows = rows, step->score_size = (window + 31) / 16 * 16;
#define PLACE(name, count) \
    step->name = (void *)(base + at), at += ((count) * (int64_t)sizeof *step->name + 63) / 64 * 64
    PLACE(x, wide);
    PLACE(x0, wide);
    PLACE(normed, wide);
    PLACE(skips, wide * model->skips);
    PLACE(qkv, 3 * wide);
    PLACE(merged, wide);
    PLACE(hidden, rows * model->hidden);
    PLACE(parts, CHUNKS * wide);
    PLACE(scores, threads * step->score_size);
    PLACE(phases, PHASES * model->layers + 2);
#undef PLACE
    return at;
}

int64_t daisy_workspace(const Model *model, int64_t rows, int64_t threads) {
    Step step;
    return lay_out(&step, model, rows, threads, NULL);
}

enum Then { NOTHING, SQUARE, CAP };

// y (rows, count) = x (rows, dim) times the matrix, then what follows of each output alone. Tiles are large enough to
// be read in one go, and small enough that no thread waits long for another.
static void dot_phase(const Step *step, Phase *phase, Matrix matrix, int64_t count, float *y, enum Then then) {
    const Model *const model = step->model;
    int64_t tile = count / (16 * omp_get_num_threads()) + 4;
    tile = (tile < 256 ? tile : 256) / 4 * 4;
    const int64_t tasks = (count + tile - 1) / tile;
    FOR_TASKS(task, phase, tasks) {
        const int64_t begin = task * tile, end = begin + tile < count ? begin + tile : count;
        dot_tile(model->kind, matrix, step->normed, step->rows, model->dim, y, count, begin, end);
        for (int64_t r = 0; r < step->rows; r++)
            if (then == SQUARE) square(y + r * count + begin, end - begin);
            else if (then == CAP) cap(y + r * count + begin, end - begin, model->softcap);
    }
    wait_for(phase, tasks);
}

// parts (CHUNKS, rows, dim) = x (rows, inputs) times the matrix, a part of the inputs each.
static void add_phase(const Step *step, Phase *phase, Matrix matrix, const float *x, int64_t inputs) {
    const int64_t rows = step->rows, dim = step->model->dim, chunk = (inputs + CHUNKS - 1) / CHUNKS;
    FOR_TASKS(task, phase, CHUNKS) {
        const int64_t begin = task * chunk, end = begin + chunk;
        add_tile(step->model->kind, matrix, x, rows, inputs, dim, step->parts + task * rows * dim,
                 begin < inputs ? begin : inputs, end < inputs ? end : inputs);
    }
    wait_for(phase, CHUNKS);
}

static void attend_phase(const Step *step, Phase *phase, const Layer *layer, const int64_t *tokens,
                         const int64_t *slots, const int64_t *positions, const float *cosines, const float *sines) {
    const Model *const model = step->model;
    const int64_t heads = model->heads, size = model->head_dim, dim = model->dim;
    float *const scores = step->scores + omp_get_thread_num() * step->score_size;
    FOR_TASKS(task, phase, step->rows * heads) {
        const int64_t r = task / heads, head = task % heads;
        attend(model, layer, head, tokens[r], slots[r], positions[r], cosines + r * size / 2, sines + r * size / 2,
               step->qkv + 3 * r * dim, scores, step->merged + r * dim + head * size);
    }
    wait_for(phase, step->rows * heads);
}

// The stream after the product before, and at the end of layer `l` what the next one makes of it; then its norm.
static void join_phase(const Step *step, Phase *phase, int64_t l, int ends) {
    const Model *const model = step->model;
    const int64_t rows = step->rows, dim = model->dim;
    FOR_TASKS(r, phase, rows) {
        float *const x = step->x + r * dim, *const x0 = step->x0 + r * dim;
        for (int64_t c = 0; c < CHUNKS; c++)
            for (int64_t k = 0; k < dim; k++) x[k] += step->parts[(c * rows + r) * dim + k];
        if (ends && l < model->skips) memcpy(step->skips + (l * rows + r) * dim, x, sizeof(float) * (size_t)dim);
        if (ends && l + 1 < model->layers) {
            const Layer *const after = &model->layer[l + 1];
            mix(after, x, x0, after->skip_from < 0 ? NULL : step->skips + (after->skip_from * rows + r) * dim, dim);
        }
        norm(x, step->normed + r * dim, dim);
    }
    wait_for(phase, rows);
}

static void embed_phase(const Step *step, Phase *phase, const int64_t *tokens) {
    const Model *const model = step->model;
    const int64_t dim = model->dim;
    FOR_TASKS(r, phase, step->rows) {
        float *const x = step->x + r * dim, *const x0 = step->x0 + r * dim;
        norm(model->embed + tokens[r] * dim, x0, dim);
        memcpy(x, x0, sizeof(float) * (size_t)dim);
        mix(&model->layer[0], x, x0, NULL, dim);
        norm(x, step->normed + r * dim, dim);
    }
    wait_for(phase, step->rows);
}

// Reads memory as products do and does nothing else with it: the pace that a benchmark compares theirs with.
float daisy_read(const float *from, int64_t count, int threads) {
    const int64_t tile = 65536, tiles = count / tile;
    float total = 0;
#pragma omp parallel for num_threads(threads) schedule(dynamic) reduction(+ : total)
    for (int64_t t = 0; t < tiles; t++) {
        Vector sums[4] = {all(0), all(0), all(0), all(0)};
        for (const float *at = from + t * tile; at < from + (t + 1) * tile; at += 64) {
            UNROLL for (int line = 0; line < 4; line++) prefetch((const char *)(at + 16 * line) + AHEAD);
            UNROLL for (int v = 0; v < 64; v += LANES) sums[v / LANES % 4] += load(at + v);
        }
        total += sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
    }
    return total;
}

// Soft-capped logits (rows, vocabulary) of one more token a row; cosines and sines are (rows, head_dim / 2). The
// workspace has daisy_workspace bytes and is aligned to 64.
void daisy_step(const Model *model, int64_t rows, const int64_t *tokens, const int64_t *slots, const int64_t *positions,
                const float *cosines, const float *sines, char *workspace, float *logits, int threads) {
    Step step;
    lay_out(&step, model, rows, threads, workspace);
    memset(step.phases, 0, sizeof(Phase) * (size_t)(PHASES * model->layers + 2));
#pragma omp parallel num_threads(threads)
    {
        Phase *phase = step.phases;
        embed_phase(&step, phase++, tokens);
        for (int64_t l = 0; l < model->layers; l++) {
            const Layer *const layer = &model->layer[l];
            dot_phase(&step, phase++, layer->qkv, 3 * model->dim, step.qkv, NOTHING);
            attend_phase(&step, phase++, layer, tokens, slots, positions, cosines, sines);
            add_phase(&step, phase++, layer->out, step.merged, model->dim);
            join_phase(&step, phase++, l, 0);
            dot_phase(&step, phase++, layer->up, model->hidden, step.hidden, SQUARE);
            add_phase(&step, phase++, layer->down, step.hidden, model->hidden);
            join_phase(&step, phase++, l, 1);
        }
        dot_phase(&step, phase, model->head, model->vocabulary, logits, CAP);
    }
}
