/* KD with Z-scores or without, alone or beside cross-entropy. */
#include "rows.h"

/* parameters: temperature, weight of KD, weight of cross-entropy (with a target). */
static int kd_rows(void *given, int64_t first, int64_t end) {
    const Batch *b = given;
    int64_t count = b->classes;
    double temperature = b->parameters[0], weight = b->parameters[1] * temperature * temperature;
    double ce_weight = b->parameters[2];
    int outcome = DONE;
    float *buffer = malloc(2 * (size_t)count * sizeof(float));
    if (!buffer) return NO_MEMORY;
    for (int64_t row = first; row < end; row++) {
        const float *s = b->student + row * b->student_stride, *t = b->teacher + row * b->teacher_stride;
        float *p = b->grad ? b->grad + row * count : buffer, *q = buffer + count;
        Scale ours = row_scale(s, count, temperature, b->standardize);
        Scale theirs = row_scale(t, count, temperature, b->standardize);
        Pair pair = {row_max(s, count), (float)ours.inv, row_max(t, count), (float)theirs.inv, 0, 0, 0};
        pair_exp(&pair, p, s, q, t, count);
        double loss = weight * (pair.gap / pair.q_sum + log(pair.p_sum / pair.q_sum));
        if (b->grad) {
            double by = weight * b->scale, unit = b->standardize ? 1 : by / temperature;
            float p_unit = (float)(unit / pair.p_sum), q_unit = (float)(unit / pair.q_sum);
            for (int64_t i = 0; i < count; i++) p[i] = p[i] * p_unit - q[i] * q_unit; /* dKL/dv = p - q */
            if (b->standardize) row_back(p, s, ours, count, temperature, by);
        }
        if (b->target) {
            int64_t label = b->target[row];
            if (!is_class(label, count)) {
                outcome = BAD_LABEL;
                break;
            }
            double sum = row_exp(q, s, pair.s_top, 1.0f, count);
            loss += ce_weight * (log(sum) + pair.s_top - s[label]);
            if (b->grad) {
                float unit = (float)(ce_weight * b->scale / sum);
                for (int64_t i = 0; i < count; i++) p[i] += q[i] * unit;
                p[label] -= (float)(ce_weight * b->scale);
            }
        }
        b->loss[row] = (float)loss;
    }
    free(buffer);
    return outcome;
}

int kdzoo_ce_kd(Batch *batch) { return all_rows(batch, kd_rows); }

/* parameters: temperature; no target. */
int kdzoo_kd(Batch *batch) {
    batch->parameters[1] = 1;
    return kdzoo_ce_kd(batch);
}
