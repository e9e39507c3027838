/* Threads, and the Z-scores of a row. */
#include "rows.h"

/* The OpenMP runtime is torch's own, which is in the process already: a second one would start threads of its own
 * beside torch's. Where there is none the weak names are null, and all rows are the caller's. */
extern void GOMP_parallel(void (*)(void *), void *, unsigned, unsigned) __attribute__((weak));
extern int omp_get_thread_num(void) __attribute__((weak));
extern int omp_get_num_threads(void) __attribute__((weak));

typedef struct {
    int (*work)(void *, int64_t, int64_t);
    void *context;
    int64_t count;
    volatile int outcome; /* of the threads that failed any one's */
} Job;

static void one_thread(void *given) {
    Job *job = given;
    int64_t thread = omp_get_thread_num(), threads = omp_get_num_threads();
    int outcome = job->work(job->context, job->count * thread / threads, job->count * (thread + 1) / threads);
    if (outcome != DONE) job->outcome = outcome;
}

int in_parallel(int (*work)(void *, int64_t, int64_t), void *context, int64_t count, int threads) {
    if (threads < 2 || count < 2 || !GOMP_parallel || !omp_get_thread_num || !omp_get_num_threads)
        return work(context, 0, count);
    Job job = {work, context, count, DONE};
    GOMP_parallel(one_thread, &job, (unsigned)threads, 0);
    return job.outcome;
}

int all_rows(Batch *batch, int (*rows)(void *, int64_t, int64_t)) {
    if (!batch->reduced) return in_parallel(rows, batch, batch->rows, batch->threads);
    float *loss = batch->loss = malloc((size_t)(batch->rows + 1) * sizeof(float));
    if (!loss) return NO_MEMORY;
    int outcome = in_parallel(rows, batch, batch->rows, batch->threads);
    double sum = 0; /* in the rows' order, however many threads there were */
    for (int64_t row = 0; row < batch->rows && outcome == DONE; row++) sum += loss[row];
    *batch->reduced = (float)(sum * batch->share);
    free(loss);
    return outcome;
}

Scale row_scale(const float *x, int64_t count, double temperature, int standardize) {
    if (!standardize) return (Scale){0, 0, 1 / temperature};
    /* The first entry is taken off, so that a constant row deviates by exactly 0. */
    double sum = 0, squares = 0;
    float first = x[0];
    for (int64_t start = 0; start < count; start += CHUNK) {
        int64_t end = start + CHUNK < count ? start + CHUNK : count;
        float part = 0;
#pragma omp simd reduction(+ : part)
        for (int64_t i = start; i < end; i++) part += x[i] - first;
        sum += part;
    }
    float mean = (float)(sum / (double)count);
    for (int64_t start = 0; start < count; start += CHUNK) {
        int64_t end = start + CHUNK < count ? start + CHUNK : count;
        float part = 0;
#pragma omp simd reduction(+ : part)
        for (int64_t i = start; i < end; i++) part += ((x[i] - first) - mean) * ((x[i] - first) - mean);
        squares += part;
    }
    double deviation = sqrt(squares / (double)(count - 1));
    return (Scale){first + mean, deviation, 1 / ((deviation + STD_EPS) * temperature)};
}

void row_back(
    float *restrict grad, const float *restrict x, Scale scale, int64_t count, double temperature, double by
) {
    /* z = (x - mean) / (std + eps), so dz/dx takes off z (z . grad) (std + eps) / ((C - 1) std); grad's mean is 0. */
    double spread = scale.deviation + STD_EPS;
    double floored = scale.deviation < STD_FLOOR ? STD_FLOOR : scale.deviation;
    float pull = (float)(row_pull(grad, x, scale.mean, count) / (spread * floored * (double)(count - 1)));
    float mean = scale.mean;
    float factor = scale.deviation < STD_FLOOR ? 0.0f : (float)(by / (temperature * spread));
    for (int64_t i = 0; i < count; i++) grad[i] = (grad[i] - (x[i] - mean) * pull) * factor;
}
