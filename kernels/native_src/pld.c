/* PLD: the teacher's ranking by a radix sort, then two scans over it. */
#include "rows.h"

#define WIDEST 80.0f /* exp(-80), and its reciprocal times any number of classes, are normal float32 */

typedef struct {
    uint64_t *keys, *spare; /* [C] */
    int32_t *order;         /* [C], from the last place to the first, which is the label's */
    float *q, *weight, *score, *e, *total; /* [C] */
} Space;

/* Stable, by `bits` at a time: a key's upper half is the logit as an unsigned number of the same order, its lower
 * half the class. */
static void sort(const float *t, Space *space, int64_t count) {
    int bits = count < 400 ? 8 : 11, passes = count < 400 ? 4 : 3, size = 1 << bits;
    uint32_t counts[3 << 11];
    memset(counts, 0, (size_t)(passes * size) * sizeof(uint32_t));
    uint64_t *keys = space->keys, *spare = space->spare;
    for (int64_t i = 0; i < count; i++) {
        uint32_t key = (uint32_t)to_bits(t[i] + 0.0f); /* -0 becomes 0 */
        key ^= (uint32_t)((int32_t)key >> 31) | 0x80000000u;
        keys[i] = (uint64_t)key << 32 | (uint64_t)i;
        for (int pass = 0; pass < passes; pass++) counts[pass * size + ((key >> (pass * bits)) & (size - 1))]++;
    }
    for (int pass = 0; pass < passes; pass++) {
        uint32_t *starts = counts + pass * size, sum = 0;
        int shift = 32 + pass * bits;
        for (int k = 0; k < size; k++) {
            uint32_t here = starts[k];
            starts[k] = sum;
            sum += here;
        }
        for (int64_t i = 0; i < count; i++) {
            uint64_t key = keys[i];
            spare[starts[(key >> shift) & (uint64_t)(size - 1)]++] = key;
        }
        uint64_t *sorted = spare;
        spare = keys;
        keys = sorted;
    }
    space->keys = keys;
    space->spare = spare;
}

static int rank(const float *t, const int32_t *known, int64_t label, Space *space, int64_t count) {
    int64_t place = 0;
    int32_t *order = space->order;
    if (!is_class(label, count)) return BAD_LABEL;
    char *met = (char *)space->spare; /* a class that is there twice leaves another's gradient unwritten */
    if (known)
        memset(met, 0, (size_t)count);
    else
        sort(t, space, count);
    for (int64_t i = 0; i < count; i++) {
        int32_t class = known ? known[i] : (int32_t)(space->keys[i] & 0xffffffffu);
        if (known && (!is_class(class, count) || met[class]++)) return BAD_ORDER;
        order[place] = class;
        place += class != label;
    }
    order[count - 1] = (int32_t)label;
    return place == count - 1 ? DONE : BAD_ORDER;
}

/* The sum of the places behind, as exp(top) times `sum`: for scores so far apart that exp would underflow. */
typedef struct {
    double top, sum;
} LogSum;

static void add(LogSum *to, double x) {
    if (x > to->top) {
        to->sum = to->sum * exp(to->top - x) + 1;
        to->top = x;
    } else
        to->sum += exp(x - to->top);
}

static double far_row(Space *space, float *grad, double scale, int64_t count) {
    double loss = 0;
    LogSum behind = {-INFINITY, 0}, ahead = {-INFINITY, 0};
    double *total = (double *)space->keys;
    for (int64_t k = 0; k < count; k++) {
        add(&behind, space->score[k]);
        total[k] = behind.top + log(behind.sum);
        loss += space->weight[k] * (total[k] - space->score[k]);
    }
    for (int64_t k = count - 1; grad && k >= 0; k--) {
        double weight = space->weight[k];
        if (!(weight == 0)) add(&ahead, log(weight) - total[k]);
        double slope = ahead.sum == 0 ? 0 : exp(ahead.top + space->score[k]) * ahead.sum;
        grad[space->order[k]] = (float)((slope - weight) * scale);
    }
    return loss;
}

static double near_row(Space *space, float *grad, double scale, int64_t count) {
    float *restrict score = space->score, *restrict e = space->e, *restrict total = space->total;
    float *restrict weight = space->weight;
    double sum = 0, loss = 0;
    for (int64_t k = 0; k < count; k++) e[k] = exp_of(score[k]);
    for (int64_t k = 0; k < count; k++) {
        sum += e[k];
        total[k] = (float)sum;
    }
    for (int64_t start = 0; start < count; start += CHUNK) {
        int64_t end = start + CHUNK < count ? start + CHUNK : count;
        float part = 0;
#pragma omp simd reduction(+ : part)
        for (int64_t k = start; k < end; k++) part += weight[k] * (log_of(total[k]) - score[k]);
        loss += part;
    }
    if (!grad) return loss;
    /* d/ds is e times the sum of weight / total over the places from here to the first, less the weight. */
    for (int64_t k = 0; k < count; k++) total[k] = weight[k] / total[k];
    double tail = 0;
    float by = (float)scale;
    for (int64_t k = count - 1; k >= 0; k--) {
        tail += total[k];
        grad[space->order[k]] = (e[k] * (float)tail - weight[k]) * by;
    }
    return loss;
}

/* parameters: temperature, weight of cross-entropy. */
static int pld_rows(void *given, int64_t first, int64_t end) {
    const Batch *b = given;
    int64_t count = b->classes;
    size_t size = (size_t)count;
    int outcome = DONE;
    char *buffer = malloc(size * (2 * sizeof(uint64_t) + sizeof(int32_t) + 5 * sizeof(float)));
    if (!buffer) return NO_MEMORY;
    Space space = {(uint64_t *)buffer, (uint64_t *)buffer + size, NULL, NULL, NULL, NULL, NULL, NULL};
    space.order = (int32_t *)((uint64_t *)buffer + 2 * size);
    space.q = (float *)(space.order + size);
    space.weight = space.q + size, space.score = space.weight + size;
    space.e = space.score + size, space.total = space.e + size;
    for (int64_t row = first; row < end; row++) {
        const float *s = b->student + row * b->student_stride, *t = b->teacher + row * b->teacher_stride;
        outcome = rank(t, b->order ? b->order + row * count : NULL, b->target[row], &space, count);
        if (outcome != DONE) break;
        double sum = row_exp(space.q, t, row_max(t, count), (float)(1 / b->parameters[0]), count);
        float unit = (float)(1 / sum), top = row_max(s, count);
        for (int64_t k = 0; k < count; k++) {
            space.weight[k] = space.q[space.order[k]] * unit;
            space.score[k] = s[space.order[k]] - top;
        }
        space.weight[count - 1] += (float)b->parameters[1];
        int near = 1; /* false for NaN, too */
        for (int64_t k = 0; k < count; k++) near &= space.score[k] > -WIDEST;
        float *grad = b->grad ? b->grad + row * count : NULL;
        b->loss[row] = (float)(near ? near_row : far_row)(&space, grad, b->scale, count);
    }
    free(buffer);
    return outcome;
}

int kdzoo_pld(Batch *batch) { return all_rows(batch, pld_rows); }
