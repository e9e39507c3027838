/* What the losses share: rows split over threads, exp and log that compilers vectorise, sums over a row. */
#ifndef KDZOO_ROWS_H
#define KDZOO_ROWS_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* As in kernels/cpu_rows.py: rows flatter than the floor pass no gradient on through their Z-scores. */
#define STD_FLOOR 1e-4
#define STD_EPS 1e-7
#define CHUNK 512 /* entries summed in float32 before the sum goes to float64 */

/* One loss of a batch: logits whose rows are `stride` floats apart, a label a row, what is written. */
typedef struct {
    const float *student, *teacher; /* [B, C] */
    const int64_t *target;          /* [B], or NULL */
    const int32_t *order;           /* [B, C], or NULL */
    float *loss, *grad;             /* [B], or NULL with `reduced`; [B, C] contiguous, or NULL */
    float *reduced;                 /* `share` times the sum of the losses, or NULL */
    int64_t rows, classes, student_stride, teacher_stride;
    double scale, share;  /* of the gradient; of the reduced loss */
    double parameters[4]; /* the loss's own */
    int32_t standardize, threads;
} Batch;

enum { DONE = 0, NO_MEMORY = 1, BAD_LABEL = 2, BAD_ORDER = 3 }; /* what a call returns; kernels/native.py tells */

/* `work(context, first, end)` for parts of 0..count on at most `threads` threads. */
int in_parallel(int (*work)(void *, int64_t, int64_t), void *context, int64_t count, int threads);

/* `rows` of all of a batch's rows on its threads, and the reduced loss. */
int all_rows(Batch *batch, int (*rows)(void *, int64_t, int64_t));

static inline float from_bits(int32_t bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

static inline int32_t to_bits(float x) {
    int32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}

/* exp of x <= 0, to 1e-7 relative; 0 below the least normal number. 2^n times a polynomial in |r| <= log(2) / 2, with
 * log(2) in two parts; adding 1.5 * 2^23 rounds to the whole number n, which is read off the last bits. */
static inline float exp_of(float x) {
    float clamped = x < -87.3f ? -87.3f : x; /* false for NaN, which goes through all that follows */
    float shifted = clamped * 1.44269504f + 12582912.0f;
    float n = shifted - 12582912.0f;
    float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.98756915e-4f;
    p = p * r + 1.39819995e-3f;
    p = p * r + 8.33345191e-3f;
    p = p * r + 4.16657959e-2f;
    p = p * r + 1.66666655e-1f;
    p = p * r + 5.00000012e-1f;
    p = (p * r) * r + r + 1.0f;
    float power = from_bits((int32_t)((uint32_t)to_bits(shifted) << 23) + 0x3f800000);
    return x < -87.3f ? 0.0f : p * power;
}

/* A positive normal number as 2^exponent (1 + f), f from sqrt(1/2) - 1 to sqrt(2) - 1. */
typedef struct {
    float f;
    int32_t exponent;
} Log;

static inline Log log_parts(float x) {
    int32_t bits = to_bits(x);
    int32_t exponent = (bits - 0x3f3504f3) >> 23;
    return (Log){from_bits(bits - exponent * (1 << 23)) - 1.0f, exponent};
}

/* The logarithm of those parts, to 1e-7: atanh's series in f / (2 + f). */
static inline float log_sum_of(Log parts) {
    float f = parts.f, s = f / (2.0f + f), z = s * s;
    float p = 0.24279079f;
    p = p * z + 0.28498787f;
    p = p * z + 0.40000972f;
    p = p * z + 0.66666663f;
    float half = 0.5f * f * f;
    float tail = s * (half + z * p);
    float e = (float)parts.exponent;
    return e * 0.693359375f + (f - (half - (tail - e * 2.12194440e-4f)));
}

static inline float log_of(float x) { return log_sum_of(log_parts(x)); }

static inline int is_class(int64_t label, int64_t classes) { return 0 <= label && label < classes; }

static inline float row_max(const float *x, int64_t count) {
    float most = x[0];
#pragma omp simd reduction(max : most)
    for (int64_t i = 0; i < count; i++) most = x[i] > most ? x[i] : most;
    return most;
}

/* e = exp((x - top) inv); their sum. */
static inline double row_exp(float *restrict e, const float *restrict x, float top, float inv, int64_t count) {
    double sum = 0;
    for (int64_t start = 0; start < count; start += CHUNK) {
        int64_t end = start + CHUNK < count ? start + CHUNK : count;
        float part = 0;
#pragma omp simd reduction(+ : part)
        for (int64_t i = start; i < end; i++) {
            float value = exp_of((x[i] - top) * inv);
            e[i] = value;
            part += value;
        }
        sum += part;
    }
    return sum;
}

/* Two rows over their temperatures, less their largest entries: x = (s - s_top) s_inv, y = (t - t_top) t_inv. */
typedef struct {
    float s_top, s_inv, t_top, t_inv;
    double p_sum, q_sum, gap; /* of p = exp(x), q = exp(y), q (y - x) */
} Pair;

static inline void pair_exp(
    Pair *pair, float *restrict p, const float *restrict s, float *restrict q, const float *restrict t, int64_t count
) {
    float s_top = pair->s_top, s_inv = pair->s_inv, t_top = pair->t_top, t_inv = pair->t_inv;
    pair->p_sum = pair->q_sum = pair->gap = 0;
    for (int64_t start = 0; start < count; start += CHUNK) {
        int64_t end = start + CHUNK < count ? start + CHUNK : count;
        float p_part = 0, q_part = 0, gap = 0;
#pragma omp simd reduction(+ : p_part, q_part, gap)
        for (int64_t i = start; i < end; i++) {
            float x = (s[i] - s_top) * s_inv, y = (t[i] - t_top) * t_inv;
            float ours = exp_of(x), theirs = exp_of(y);
            p[i] = ours;
            q[i] = theirs;
            p_part += ours;
            q_part += theirs;
            gap += theirs * (y - x);
        }
        pair->p_sum += p_part;
        pair->q_sum += q_part;
        pair->gap += gap;
    }
}

/* Sum of e (s - top). */
static inline double row_pull(const float *restrict e, const float *restrict s, float top, int64_t count) {
    double sum = 0;
    for (int64_t start = 0; start < count; start += CHUNK) {
        int64_t end = start + CHUNK < count ? start + CHUNK : count;
        float part = 0;
#pragma omp simd reduction(+ : part)
        for (int64_t i = start; i < end; i++) part += e[i] * (s[i] - top);
        sum += part;
    }
    return sum;
}

/* A row's mean and deviation (over count - 1), and 1 / ((deviation + eps) temperature). Without Z-scores only the
 * last, 1 / temperature. */
typedef struct {
    float mean;
    double deviation, inv;
} Scale;

Scale row_scale(const float *x, int64_t count, double temperature, int standardize);

/* The gradient of Z-scores over the temperature, rows of sum 0, becomes `by` times the logits'. */
void row_back(float *grad, const float *x, Scale scale, int64_t count, double temperature, double by);

#endif
