/* DKD and NKD, which part the label from the other classes.
 *
 * In a copy of the row the label's logit is replaced by the largest of the others, so that its exp is 1, which is
 * taken off the sum, and its share of every difference is 0. With n the softmax over the others and u the label's
 * softened logit less their logsumexp, p_y = sigmoid(u) and 1 - p_y = sigmoid(-u), exact at both ends. */
#include "rows.h"

static double sigmoid(double u) { return u < 0 ? exp(u) / (1 + exp(u)) : 1 / (1 + exp(-u)); }

static double log_sigmoid(double u) { return (u < 0 ? u : 0) - log1p(exp(u < 0 ? u : -u)); }

/* The row with the largest of the others, which is returned, at the label. */
static float without(const float *x, float *copy, int64_t label, int64_t count) {
    memcpy(copy, x, (size_t)count * sizeof(float));
    copy[label] = -INFINITY;
    return copy[label] = row_max(copy, count);
}

/* u from the label's logit, the largest of the others and their sum of exp((x - top) inv); NaN as softmax is. */
static double lead_of(float own, float top, double inv, double sum) {
    return own == INFINITY ? NAN : (own - top) * inv - log(sum);
}

/* parameters: alpha, beta, temperature. */
static int dkd_rows(void *given, int64_t first, int64_t end) {
    const Batch *b = given;
    int64_t count = b->classes;
    double alpha = b->parameters[0], beta = b->parameters[1], temperature = b->parameters[2];
    double weight = temperature * temperature;
    int outcome = DONE;
    float *buffer = malloc(4 * (size_t)count * sizeof(float));
    if (!buffer) return NO_MEMORY;
    float *s_rest = buffer, *t_rest = buffer + count, *q = buffer + 2 * count;
    for (int64_t row = first; row < end; row++) {
        const float *s = b->student + row * b->student_stride, *t = b->teacher + row * b->teacher_stride;
        float *p = b->grad ? b->grad + row * count : buffer + 3 * count;
        int64_t label = b->target[row];
        if (!is_class(label, count)) {
            outcome = BAD_LABEL;
            break;
        }
        Scale ours = row_scale(s, count, temperature, b->standardize);
        Scale theirs = row_scale(t, count, temperature, b->standardize);
        Pair pair = {
            without(s, s_rest, label, count), (float)ours.inv, without(t, t_rest, label, count), (float)theirs.inv, 0,
            0, 0
        };
        pair_exp(&pair, p, s_rest, q, t_rest, count);
        double p_sum = pair.p_sum - p[label], q_sum = pair.q_sum - q[label];
        double u = lead_of(s[label], pair.s_top, ours.inv, p_sum), w = lead_of(t[label], pair.t_top, theirs.inv, q_sum);
        double nckd = pair.gap / q_sum + log(p_sum / q_sum), q_y = sigmoid(w);
        double tckd = q_y * (log_sigmoid(w) - log_sigmoid(u)) + sigmoid(-w) * (log_sigmoid(-w) - log_sigmoid(-u));
        b->loss[row] = (float)(weight * (alpha * tckd + beta * nckd));
        if (b->grad) {
            /* dTCKD/du = p_y - q_y, du/dv = 1 at the label and -n elsewhere; dNCKD/dv = n_p - n_q. */
            double lead = alpha * (sigmoid(u) - q_y);
            double by = weight * b->scale, unit = b->standardize ? 1 : by / temperature;
            float p_unit = (float)(unit * (beta - lead) / p_sum), q_unit = (float)(unit * beta / q_sum);
            for (int64_t i = 0; i < count; i++) p[i] = p[i] * p_unit - q[i] * q_unit;
            p[label] = (float)(unit * lead);
            if (b->standardize) row_back(p, s, ours, count, temperature, by);
        }
    }
    free(buffer);
    return outcome;
}

/* parameters: gamma, temperature. */
static int nkd_rows(void *given, int64_t first, int64_t end) {
    const Batch *b = given;
    int64_t count = b->classes;
    double gamma = b->parameters[0], temperature = b->parameters[1], inv = 1 / temperature;
    int outcome = DONE;
    float *buffer = malloc(4 * (size_t)count * sizeof(float));
    if (!buffer) return NO_MEMORY;
    float *rest = buffer, *q = buffer + count, *full = buffer + 2 * count;
    for (int64_t row = first; row < end; row++) {
        const float *s = b->student + row * b->student_stride, *t = b->teacher + row * b->teacher_stride;
        float *p = b->grad ? b->grad + row * count : buffer + 3 * count;
        int64_t label = b->target[row];
        if (!is_class(label, count)) {
            outcome = BAD_LABEL;
            break;
        }
        float top = without(t, rest, label, count);
        double q_sum = row_exp(q, rest, top, (float)inv, count) - q[label];
        double w = lead_of(t[label], top, inv, q_sum);
        top = without(s, rest, label, count);
        double p_sum = row_exp(p, rest, top, (float)inv, count) - p[label];
        double u = lead_of(s[label], top, inv, p_sum);
        double others = log(p_sum) - row_pull(q, rest, top, count) * inv / q_sum;
        double q_y, log_p_y, p_not, p_unit = 0;
        if (temperature == 1) {
            q_y = sigmoid(w), log_p_y = log_sigmoid(u), p_not = sigmoid(-u);
        } else { /* the label's own part is at temperature 1 */
            float t_top = row_max(t, count), s_top = row_max(s, count);
            q_y = exp((double)t[label] - t_top) / row_exp(full, t, t_top, 1.0f, count);
            double sum = row_exp(full, s, s_top, 1.0f, count);
            log_p_y = (double)s[label] - s_top - log(sum), p_not = -expm1(log_p_y), p_unit = q_y * b->scale / sum;
        }
        b->loss[row] = (float)(gamma * temperature * temperature * others - q_y * log_p_y);
        if (b->grad) {
            double unit = gamma * temperature * b->scale; /* of d others/dv = n_p - n_q */
            double missing = q_y * p_not * b->scale;
            /* p = (1 - p_y) n away from the label, which spares its softmax at temperature 1. */
            float ours = (float)((temperature == 1 ? unit + missing : unit) / p_sum);
            float theirs = (float)(unit / q_sum);
            for (int64_t i = 0; i < count; i++) p[i] = p[i] * ours - q[i] * theirs;
            if (temperature != 1)
                for (int64_t i = 0; i < count; i++) p[i] += full[i] * (float)p_unit;
            p[label] = (float)-missing;
        }
    }
    free(buffer);
    return outcome;
}

int kdzoo_dkd(Batch *batch) { return all_rows(batch, dkd_rows); }

int kdzoo_nkd(Batch *batch) { return all_rows(batch, nkd_rows); }
