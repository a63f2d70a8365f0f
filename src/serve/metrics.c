/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/metrics.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/utf8.h"

/* OpenMetrics: the label set of an exemplar has 128 characters at most. */
enum { MAX_EXEMPLAR = 128 };

enum metrics_format metrics_choose(const char *accept)
{
	return accept && strstr(accept, "application/openmetrics-text") ? METRICS_OPENMETRICS
	                                                                : METRICS_TEXT;
}

const char *metrics_content_type(enum metrics_format f)
{
	return f == METRICS_OPENMETRICS
	               ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
	               : "text/plain; version=0.0.4; charset=utf-8";
}

struct metrics metrics_on(FILE *to, enum metrics_format f)
{
	return (struct metrics){ .to = to, .format = f };
}

/* What a family's lines call it. */
static const char *family_end(const struct metrics *m)
{
	return m->type == METRICS_COUNTER && m->format == METRICS_TEXT ? "_total" : "";
}

void metrics_family(struct metrics *m, enum metrics_type type, const char *name, const char *help)
{
	m->type = type;
	m->name = name;
	m->n_samples = 0;
	fprintf(m->to, "# HELP %s%s %s\n# TYPE %s%s %s\n", name, family_end(m), help, name,
	        family_end(m), type == METRICS_COUNTER ? "counter" : "gauge");
}

static void write_text(FILE *to, const char *s)
{
	for (size_t left = strlen(s); left;) {
		size_t n = utf8_sequence(s, left);

		if (!n)
			fputs("\xef\xbf\xbd", to);
		else if (*s == '\\' || *s == '"')
			fprintf(to, "\\%c", *s);
		else if (*s == '\n')
			fputs("\\n", to);
		else
			fwrite(s, 1, n, to);
		s += n ? n : 1;
		left -= n ? n : 1;
	}
}

static void write_labels(FILE *to, const char *const *labels)
{
	const char *before = "{";

	if (!labels || !labels[0])
		return;
	for (; labels[0] && labels[1]; labels += 2) {
		fprintf(to, "%s%s=\"", before, labels[0]);
		write_text(to, labels[1]);
		fputc('"', to);
		before = ",";
	}
	fputc('}', to);
}

static void write_number(FILE *to, double v)
{
	if (isnan(v))
		fputs("NaN", to);
	else if (isinf(v))
		fputs(v > 0 ? "+Inf" : "-Inf", to);
	else if (v == floor(v) && fabs(v) < 9007199254740992.0)
		fprintf(to, "%" PRId64, (int64_t)v);
	else
		fprintf(to, "%.17g", v);
}

void metrics_sample(struct metrics *m, double value, const char *const *labels)
{
	metrics_sample_exemplar(m, value, labels, NULL, 0);
}

void metrics_sample_exemplar(struct metrics *m, double value, const char *const *labels,
                             const char *capture_id, double unix_s)
{
	if (m->n_samples++ >= METRICS_MAX_SAMPLES) {
		m->dropped++;
		return;
	}
	fprintf(m->to, "%s%s", m->name, m->type == METRICS_COUNTER ? "_total" : "");
	write_labels(m->to, labels);
	fputc(' ', m->to);
	write_number(m->to, value);
	if (capture_id && m->format == METRICS_OPENMETRICS && m->type == METRICS_COUNTER &&
	    strlen(capture_id) + strlen("capture_id") <= MAX_EXEMPLAR) {
		fputs(" # {capture_id=\"", m->to);
		write_text(m->to, capture_id);
		fprintf(m->to, "\"} 1 %.3f", unix_s);
	}
	fputc('\n', m->to);
}

void metrics_end(struct metrics *m)
{
	if (m->format == METRICS_OPENMETRICS)
		fputs("# EOF\n", m->to);
}
