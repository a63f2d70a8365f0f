/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/trigger_rule.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

enum { MAX_WORDS = 8, MAX_TEXT = 200 };

static const uint64_t SECOND_NS = 1000000000, DAY_NS = 86400 * SECOND_NS;
static const uint64_t HELD_WINDOW_NS = 600 * SECOND_NS;

struct words {
	char text[MAX_TEXT];
	char *word[MAX_WORDS];
	size_t n, at;
	struct error *err;
};

static int split(const char *text, struct words *w)
{
	char *save = NULL;

	if ((size_t)snprintf(w->text, sizeof(w->text), "%s", text) >= sizeof(w->text))
		return error_set(w->err, EINVAL, "the rule is too long");
	for (char *s = strtok_r(w->text, " \t", &save); s; s = strtok_r(NULL, " \t", &save)) {
		if (w->n == MAX_WORDS)
			return error_set(w->err, EINVAL, "the rule has too many words");
		w->word[w->n++] = s;
	}
	return 0;
}

static const char *peek(const struct words *w)
{
	return w->at < w->n ? w->word[w->at] : "";
}

static int wrong(struct words *w, const char *wanted)
{
	if (w->at < w->n)
		error_set(w->err, EINVAL, "'%s' in the rule: expected %s", peek(w), wanted);
	else
		error_set(w->err, EINVAL, "the rule ends early: expected %s", wanted);
	return w->err->code;
}

static int literal(struct words *w, const char *word)
{
	if (strcmp(peek(w), word) != 0)
		return wrong(w, word);
	w->at++;
	return 0;
}

/* Digits with at most one point, and what follows; false: none, or too many. */
static bool number(const char *s, double *ret, const char **end)
{
	size_t n = strspn(s, "0123456789"), m = n;

	if (s[n] == '.')
		m = n + 1 + strspn(s + n + 1, "0123456789");
	if (!isdigit((unsigned char)*s) || m > 15)
		return false;
	*ret = strtod(s, NULL);
	*end = s + m;
	return true;
}

struct unit {
	const char *name;
	double factor;
};

static int measure(struct words *w, const struct unit *units, const char *wanted, double max,
                   uint64_t *ret)
{
	const char *unit;
	double v;

	if (!number(peek(w), &v, &unit))
		return wrong(w, wanted);
	while (units->name && strcasecmp(unit, units->name) != 0)
		units++;
	if (!units->name || v * units->factor < 1 || v * units->factor > max)
		return wrong(w, wanted);
	*ret = (uint64_t)(v * units->factor);
	w->at++;
	return 0;
}

static int size(struct words *w, uint64_t *ret)
{
	static const struct unit units[] = {
		{ "", 1 },
		{ "K", 1024 },
		{ "M", 1 << 20 },
		{ "G", 1 << 30 },
		{ "T", 1024.0 * (1 << 30) },
		{ "KiB", 1024 },
		{ "MiB", 1 << 20 },
		{ "GiB", 1 << 30 },
		{ NULL, 0 },
	};

	return measure(w, units, "a size like 256M", 1e15, ret);
}

static int duration(struct words *w, uint64_t *ret)
{
	static const struct unit units[] = {
		{ "s", 1e9 }, { "m", 60e9 }, { "h", 3600e9 }, { "d", 86400e9 }, { NULL, 0 },
	};
	int r = measure(w, units, "a time like 10m", (double)(30 * DAY_NS), ret);

	return r == 0 && *ret < SECOND_NS ? wrong((w->at--, w), "a time of a second or more") : r;
}

static int percent(struct words *w, double *ret)
{
	const char *end;
	double v;

	if (!number(peek(w), &v, &end) || strcmp(end, "%") != 0 || v <= 0 || v > 100)
		return wrong(w, "a part like 80%");
	*ret = v / 100;
	w->at++;
	return 0;
}

/* "of anon", which may be left out. */
static int source(struct words *w, enum trigger_source *ret)
{
	static const char *const names[] = { "anon", "cgroup", "allocated" };

	if (strcmp(peek(w), "of") != 0)
		return 0;
	w->at++;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (!strcmp(peek(w), names[i])) {
			*ret = (enum trigger_source)i;
			w->at++;
			return 0;
		}
	}
	return wrong(w, "anon, cgroup or allocated");
}

static int growth(struct words *w, struct trigger_rule *r)
{
	int e = size(w, &r->bytes);

	if (e == 0)
		e = source(w, &r->source);
	if (e == 0)
		e = literal(w, "in");
	return e < 0 ? e : duration(w, &r->window_ns);
}

static int to_limit(struct words *w, const char *with)
{
	int e = literal(w, with);

	return e < 0 ? e : literal(w, "limit");
}

static int above(struct words *w, struct trigger_rule *r)
{
	int e;

	if (!strchr(peek(w), '%')) {
		r->kind = TRIGGER_ABOVE_SIZE;
		e = size(w, &r->bytes);
		return e < 0 ? e : source(w, &r->source);
	}
	r->source = TRIGGER_CGROUP;
	e = percent(w, &r->part);
	return e < 0 ? e : to_limit(w, "of");
}

static int eta(struct words *w, struct trigger_rule *r)
{
	int e = duration(w, &r->window_ns);

	r->source = TRIGGER_CGROUP;
	return e < 0 ? e : to_limit(w, "to");
}

static int held(struct words *w, struct trigger_rule *r)
{
	int e = size(w, &r->bytes);

	r->window_ns = HELD_WINDOW_NS;
	if (e == 0)
		e = literal(w, "by");
	if (e == 0)
		e = literal(w, "stack");
	if (e < 0 || w->at == w->n)
		return e;
	e = literal(w, "in");
	return e < 0 ? e : duration(w, &r->window_ns);
}

static int pressure(struct words *w, struct trigger_rule *r)
{
	return percent(w, &r->part);
}

static int oom(struct words *w, struct trigger_rule *r)
{
	(void)w;
	(void)r;
	return 0;
}

static const struct form {
	const char *word;
	enum trigger_kind kind;
	int (*parse)(struct words *w, struct trigger_rule *r);
} forms[] = {
	{ "growth", TRIGGER_GROWTH, growth },
	{ "above", TRIGGER_ABOVE_PART, above },
	{ "eta", TRIGGER_ETA, eta },
	{ "held-growth", TRIGGER_HELD, held },
	{ "pressure", TRIGGER_PRESSURE, pressure },
	{ "oom", TRIGGER_OOM, oom },
};

int trigger_rule_parse(const char *text, struct trigger_rule *ret, struct error *err)
{
	struct trigger_rule rule = { 0 };
	struct words w = { .err = err };
	int r = split(text, &w);

	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		if (strcmp(peek(&w), forms[i].word) != 0)
			continue;
		w.at++;
		rule.kind = forms[i].kind;
		r = forms[i].parse(&w, &rule);
		if (r == 0 && w.at < w.n)
			r = wrong(&w, "nothing more");
		if (r < 0)
			return error_hint(
				err, "rules look like: growth 256M in 10m; above 80%% of limit; "
				     "eta 15m to limit; held-growth 64M by stack");
		*ret = rule;
		return 0;
	}
	wrong(&w, "growth, above, eta, held-growth, pressure or oom");
	return error_hint(err, "for example: growth 256M in 10m");
}

const char *trigger_rule_name(const struct trigger_rule *r)
{
	static const char *const names[] = {
		[TRIGGER_GROWTH] = "growth",    [TRIGGER_ABOVE_PART] = "limit",
		[TRIGGER_ABOVE_SIZE] = "size",  [TRIGGER_ETA] = "eta",
		[TRIGGER_HELD] = "held-growth", [TRIGGER_PRESSURE] = "pressure",
		[TRIGGER_OOM] = "oom",
	};

	return names[r->kind];
}
