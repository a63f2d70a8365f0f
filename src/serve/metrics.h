/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The writer of metrics, in Prometheus' text format 0.0.4 and in OpenMetrics 1.0
 * (prometheus.io/docs/instrumenting/exposition_formats, OpenMetrics
 * specification 1.0.0). What is surprising is what they do not share: a
 * counter's family is named with _total in the first and without in the second,
 * exemplars and "# EOF" are in the second only.
 *
 * Labels are any bytes: they are escaped, and what is no UTF-8 becomes U+FFFD.
 * Errors of the stream are the stream's (ferror() at the end).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum metrics_format { METRICS_TEXT, METRICS_OPENMETRICS };
enum metrics_type { METRICS_GAUGE, METRICS_COUNTER };

enum { METRICS_MAX_SAMPLES = 50000 }; /* of one family; more are counted, not written */

struct metrics {
	FILE *to;
	enum metrics_format format;
	enum metrics_type type;
	const char *name;
	size_t n_samples; /* of this family */
	size_t dropped;   /* of all families */
};

/* By what a client accepts (the Accept header, NULL: none given). */
enum metrics_format metrics_choose(const char *accept);
/* The Content-Type of the answer. */
const char *metrics_content_type(enum metrics_format f);

struct metrics metrics_on(FILE *to, enum metrics_format f);
/* @name: static, a counter's without "_total". All samples of a family follow it. */
void metrics_family(struct metrics *m, enum metrics_type type, const char *name, const char *help);

/* Names and values in turn, NULL at the end. */
void metrics_sample(struct metrics *m, double value, const char *const *labels);
/* Of a counter: with the id of a capture as exemplar (label "capture_id"; NULL: none),
 * and when it was made. */
void metrics_sample_exemplar(struct metrics *m, double value, const char *const *labels,
                             const char *capture_id, double unix_s);
void metrics_end(struct metrics *m);

#define metrics_labels(...) ((const char *const[]){ __VA_ARGS__, NULL })
