/* Standard normal numbers that are a function of their key alone: Philox-4x32-10 (Salmon et al., SC 2011) and the
 * Box-Muller transform. kdzoo/data/counter_noise.py says the same in torch operations, which agree up to rounding. */
#include "rows.h"

#define BLOCKS 64 /* counters worked on at a time, of four numbers each */

typedef struct {
    float *out;                         /* [rows, size] */
    const int64_t *streams, *positions; /* [rows], 0 to 2^32 - 1 */
    int64_t rows, size, seed, threads;
} Normal;

/* (word + 0.5) / 2^32 to float32's relative precision, by halves: there is no fast way from unsigned to float. */
static inline float unit(uint32_t word) {
    return (float)(int32_t)(word >> 16) * 0x1p-16f + ((float)(int32_t)(word & 0xffff) + 0.5f) * 0x1p-32f;
}

static inline float length_of(uint32_t word) {
    float u = unit(word), rest = unit(~word); /* they add up to 1 */
    Log parts = log_parts(u);
    /* Close to 1, u itself has lost the digits of its logarithm. */
    parts.f = parts.exponent == 0 ? -rest : parts.f;
    return sqrtf(-2.0f * log_sum_of(parts));
}

/* Sine and cosine of `word` + 0.5 of 2^32 parts of a turn: those of the rest within an eighth, turned by quarters. */
static inline void sine_cosine(uint32_t word, float *sine, float *cosine) {
    uint32_t quarter = (word + 0x20000000u) >> 30;
    float x = ((float)(int32_t)(word - (quarter << 30)) + 0.5f) * 1.46291807926715968e-9f; /* 2 pi / 2^32 */
    float z = x * x;
    float s = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * x + x;
    float c = ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z;
    c = c - 0.5f * z + 1.0f;
    int odd = (int)(quarter & 1);
    *sine = from_bits(to_bits(odd ? c : s) ^ (int32_t)((quarter & 2) << 30));
    *cosine = from_bits(to_bits(odd ? s : c) ^ (int32_t)(((quarter + 1) & 2) << 30));
}

#define ROUND(turn)                                                        \
    {                                                                      \
        uint64_t p = (uint64_t)a * 0xD2511F53u, q = (uint64_t)c * 0xCD9E8D57u; \
        a = (uint32_t)(q >> 32) ^ b ^ (seed + (turn) * 0x9E3779B9u);       \
        c = (uint32_t)(p >> 32) ^ d ^ ((turn) * 0xBB67AE85u);              \
        b = (uint32_t)q;                                                   \
        d = (uint32_t)p;                                                   \
    }

/* The 4 BLOCKS numbers of one key from block `first` on. */
static void some(float *restrict out, uint32_t seed, uint32_t stream, uint32_t position, uint32_t first) {
    uint32_t words[4][BLOCKS];
    float normal[4][BLOCKS];
#pragma omp simd
    for (int i = 0; i < BLOCKS; i++) {
        uint32_t a = first + (uint32_t)i, b = position, c = stream, d = 0;
        ROUND(0u) ROUND(1u) ROUND(2u) ROUND(3u) ROUND(4u) ROUND(5u) ROUND(6u) ROUND(7u) ROUND(8u) ROUND(9u)
        words[0][i] = a, words[1][i] = b, words[2][i] = c, words[3][i] = d;
    }
    for (int k = 0; k < 4; k += 2) {
#pragma omp simd
        for (int i = 0; i < BLOCKS; i++) {
            float length = length_of(words[k][i]), sine, cosine;
            sine_cosine(words[k + 1][i], &sine, &cosine);
            normal[k][i] = length * cosine, normal[k + 1][i] = length * sine;
        }
    }
    for (int i = 0; i < BLOCKS; i++)
        for (int k = 0; k < 4; k++) out[4 * i + k] = normal[k][i];
}

static int normal_rows(void *given, int64_t start, int64_t end) {
    const Normal *job = given;
    float rest[4 * BLOCKS];
    for (int64_t row = start; row < end; row++) {
        float *out = job->out + row * job->size;
        for (int64_t at = 0; at < job->size; at += 4 * BLOCKS) {
            int64_t left = job->size - at;
            int whole = left >= 4 * BLOCKS;
            some(
                whole ? out + at : rest, (uint32_t)job->seed, (uint32_t)job->streams[row],
                (uint32_t)job->positions[row], (uint32_t)(at / 4)
            );
            if (!whole) memcpy(out + at, rest, (size_t)left * sizeof(float));
        }
    }
    return DONE;
}

int kdzoo_normal(Normal *job) { return in_parallel(normal_rows, job, job->rows, (int)job->threads); }
