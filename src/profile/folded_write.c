/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/path.h"
#include "profile/folded.h"
#include "profile/samples.h"
#include "profile/strings.h"
#include "profile/text.h"

/* Lines of the folded text: equal stacks become one line. */
struct lines {
	struct strings texts;
	int64_t *sums; /* by string id */
	size_t n_sums, cap_sums;
	struct text line, name;
};

static void lines_clear(struct lines *l)
{
	strings_clear(&l->texts);
	free(l->sums);
	text_clear(&l->line);
	text_clear(&l->name);
}

static size_t value_type(const struct profile *p, int type)
{
	return type < 0 ? profile_default_type(p) : (size_t)type;
}

static int check_type(const struct profile *p, int type, struct error *err)
{
	return value_type(p, type) < profile_n_types(p)
	               ? 0
	               : error_set(err, EINVAL, "the profile has no value type %d", type);
}

/* A frame as a person reads it, whole, in valid UTF-8 on one line, without the
 * ';' that parts frames. */
static int frame_text(const struct profile *p, uint32_t id, struct text *t, struct error *err)
{
	const struct profile_frame *f = profile_frame_at(p, id);
	const char *name = profile_text(p, f->name);
	const char *module = path_base(profile_text(p, f->module));
	char offset[32] = "";
	int r;

	t->n = 0;
	if (!*name && *module) {
		snprintf(offset, sizeof(offset), "+0x%" PRIx64, f->offset);
		name = module;
	} else if (!*name) {
		name = "[unknown]";
	}
	r = text_append_utf8(t, name, strlen(name), err);
	if (r == 0)
		r = text_append(t, offset, strlen(offset), err);
	for (size_t i = 0; r == 0 && i < t->n; i++) {
		unsigned char c = (unsigned char)t->s[i];

		if (c == ';')
			t->s[i] = ':';
		else if (c < 0x20 || c == 0x7f)
			t->s[i] = ' ';
	}
	return r;
}

static int stack_text(const struct profile *p, const struct profile_sample *s, struct lines *l,
                      struct error *err)
{
	int r = 0;

	l->line.n = 0;
	if (!s->n_frames)
		return text_append(&l->line, "[unknown]", 9, err);
	for (size_t i = s->n_frames; r == 0 && i-- > 0;) {
		r = frame_text(p, s->frames[i], &l->name, err);
		if (r == 0)
			r = text_append(&l->line, l->name.s, l->name.n, err);
		if (r == 0 && i > 0)
			r = text_append(&l->line, ";", 1, err);
	}
	return r;
}

static int add_line(struct lines *l, int64_t value, struct error *err)
{
	uint32_t id;
	int r = strings_intern(&l->texts, l->line.s, l->line.n, &id, err);

	if (r == 0)
		r = array_reserve(&l->sums, &l->cap_sums, l->texts.n_texts, err);
	if (r < 0)
		return r;
	while (l->n_sums < l->texts.n_texts)
		l->sums[l->n_sums++] = 0;
	l->sums[id] = samples_sum(l->sums[id], value);
	return 0;
}

static int compare_lines(const void *a, const void *b, void *arg)
{
	const struct lines *l = arg;

	return strcmp(l->texts.texts[*(const uint32_t *)a], l->texts.texts[*(const uint32_t *)b]);
}

static int write_failed(FILE *to, struct error *err)
{
	return ferror(to) ? error_sys(err, errno ? errno : EIO, "write") : 0;
}

static int write_lines(struct lines *l, FILE *to, struct error *err)
{
	cleanup_free uint32_t *order = calloc(l->n_sums + 1, sizeof(*order));
	size_t n = 0;

	if (!order)
		return error_oom(err);
	for (size_t i = 0; i < l->n_sums; i++) {
		if (l->sums[i])
			order[n++] = (uint32_t)i;
	}
	qsort_r(order, n, sizeof(*order), compare_lines, l);
	for (size_t i = 0; i < n; i++)
		fprintf(to, "%s %" PRId64 "\n", l->texts.texts[order[i]], l->sums[order[i]]);
	return write_failed(to, err);
}

int folded_write(const struct profile *p, int type, FILE *to, struct error *err)
{
	cleanup(lines_clear) struct lines l = { 0 };
	int r = check_type(p, type, err);

	strings_init(&l.texts, strings_random());
	for (size_t i = 0; r == 0 && i < profile_n_samples(p); i++) {
		struct profile_sample s = profile_sample_at(p, i);
		int64_t value = s.values[value_type(p, type)];

		if (!value)
			continue;
		r = stack_text(p, &s, &l, err);
		if (r == 0)
			r = add_line(&l, value, err);
	}
	return r < 0 ? r : write_lines(&l, to, err);
}

/*
 * stackcollapse-stap.pl (github.com/brendangregg/FlameGraph) takes from a line
 * what is behind the last " : " and before the last '+', ends a stack at a line
 * of digits, and prints through printf: a " : " inside a name would cut it, and
 * a '%' before a letter would be a conversion.
 */

static bool is_conversion(const char *after_percent)
{
	after_percent += strspn(after_percent, "-+ #0123456789.*$");
	return *after_percent == '%' || (*after_percent >= 'a' && *after_percent <= 'z') ||
	       (*after_percent >= 'A' && *after_percent <= 'Z');
}

static void clean_stap_name(char *name)
{
	char before = ' ';

	for (char *s = name; *s; before = *s++) {
		if (*s == ':' && before == ' ' && s[1] == ' ')
			*s = '.';
	}
	for (char *s = name; *s; s++) {
		if (*s == '%' && is_conversion(s + 1))
			*s = '_';
	}
}

/* In brackets behind the '+' that is to be the last one. */
static void write_stap_module(const char *path, FILE *to)
{
	fputs(" [", to);
	for (; *path; path++) {
		if (*path == '+' || *path == '%')
			fprintf(to, "%%%02X", (unsigned char)*path);
		else
			fputc((unsigned char)*path < 0x20 || *path == 0x7f ? ' ' : *path, to);
	}
	fputc(']', to);
}

static int write_stap_frame(const struct profile *p, uint32_t id, struct text *name, FILE *to,
                            struct error *err)
{
	const struct profile_frame *f = profile_frame_at(p, id);
	int r = frame_text(p, id, name, err);

	if (r < 0)
		return r;
	clean_stap_name(name->s);
	/* 0x0/0x0 where the function's begin and size are not known */
	fprintf(to, " 0x%" PRIx64 " : %s+0x%" PRIx64 "/0x%" PRIx64, f->module ? f->offset : 0,
	        name->s, f->size ? f->offset - f->start : 0, f->size);
	if (f->module) {
		name->n = 0;
		r = text_append_utf8(name, profile_text(p, f->module),
		                     strlen(profile_text(p, f->module)), err);
		if (r == 0)
			write_stap_module(name->s, to);
	}
	fputc('\n', to);
	return r;
}

int folded_write_stap(const struct profile *p, int type, FILE *to, struct error *err)
{
	cleanup(text_clear) struct text name = { 0 };
	int r = check_type(p, type, err);

	for (size_t i = 0; r == 0 && i < profile_n_samples(p); i++) {
		struct profile_sample s = profile_sample_at(p, i);
		int64_t value = s.values[value_type(p, type)];

		if (value < 0) {
			error_set(err, EINVAL, "stap text has no negative values");
			return error_hint(err, "folded text has");
		}
		if (!value)
			continue;
		for (size_t k = 0; r == 0 && k < s.n_frames; k++)
			r = write_stap_frame(p, s.frames[k], &name, to, err);
		if (!s.n_frames)
			fputs(" 0x0 : [unknown]+0x0/0x0\n", to);
		fprintf(to, "\t%" PRId64 "\n", value);
	}
	return r < 0 ? r : write_failed(to, err);
}
