/* Sums by class and sums of squares of float32 rows less a shift, in float64 and one pass. */
#include "rows.h"

#define TOGETHER 4 /* rows whose squares are added up before they go to memory */

typedef struct {
    const float *x;       /* [N, D], rows `stride` apart */
    const int64_t *codes; /* [N], classes */
    const double *shift;  /* [D] */
    double *sums;         /* [parts, K, D], zeros */
    double *squares;      /* [parts, D], zeros */
    int64_t rows, width, stride, classes, parts;
} Sums;

static void add_squares(const Sums *job, double *restrict squares, int64_t row, int64_t count) {
    const double *restrict shift = job->shift;
    const float *x = job->x + row * job->stride;
    const float *restrict a = x, *restrict b = x + job->stride;
    const float *restrict c = x + 2 * job->stride, *restrict d = x + 3 * job->stride;
    if (count == TOGETHER) {
        for (int64_t i = 0; i < job->width; i++) {
            double v = a[i] - shift[i], w = b[i] - shift[i], y = c[i] - shift[i], z = d[i] - shift[i];
            squares[i] += (v * v + w * w) + (y * y + z * z);
        }
        return;
    }
    for (int64_t k = 0; k < count; k++, a += job->stride)
        for (int64_t i = 0; i < job->width; i++) squares[i] += (a[i] - shift[i]) * (a[i] - shift[i]);
}

static void add_row(const float *restrict x, const double *restrict shift, double *restrict sums, int64_t width) {
    for (int64_t i = 0; i < width; i++) sums[i] += x[i] - shift[i];
}

/* One part of the rows, which has sums of its own. */
static int of_part(void *given, int64_t first, int64_t end) {
    const Sums *job = given;
    for (int64_t part = first; part < end; part++) {
        double *sums = job->sums + part * job->classes * job->width, *squares = job->squares + part * job->width;
        int64_t row = job->rows * part / job->parts, last = job->rows * (part + 1) / job->parts;
        for (; row < last; row += TOGETHER) {
            int64_t count = last - row < TOGETHER ? last - row : TOGETHER;
            add_squares(job, squares, row, count);
            for (int64_t k = row; k < row + count; k++)
                add_row(job->x + k * job->stride, job->shift, sums + job->codes[k] * job->width, job->width);
        }
    }
    return DONE;
}

int kdzoo_class_sums(Sums *job) { return in_parallel(of_part, job, job->parts, (int)job->parts); }
