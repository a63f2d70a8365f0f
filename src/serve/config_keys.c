/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/config_keys.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/nearest.h"

/* ---- values ---- */

static int parse_text(void *field, const char *value, const struct config_key *key,
                      struct error *err)
{
	char *copy;

	if (!*value)
		return error_set(err, EINVAL, "%s has no value", key->name);
	if (asprintf(&copy, "%s%s", key->prefix ? key->prefix : "", value) < 0)
		return error_oom(err);
	free(*(char **)field);
	*(char **)field = copy;
	return 0;
}

static int parse_path(void *field, const char *value, const struct config_key *key,
                      struct error *err)
{
	if (*value != '/')
		return error_set(err, EINVAL, "%s = %s: not an absolute path", key->name, value);
	return parse_text(field, value, key, err);
}

static int parse_url(void *field, const char *value, const struct config_key *key,
                     struct error *err)
{
	if (strncmp(value, "http://", 7) != 0 && strncmp(value, "https://", 8) != 0)
		return error_set(err, EINVAL, "%s = %s: not an http:// or https:// URL", key->name,
		                 value);
	return parse_text(field, value, key, err);
}

static int append_word(struct config_list *l, const char *word, size_t len, struct error *err)
{
	int r = array_reserve(&l->items, &l->cap, l->n + 1, err);

	if (r < 0)
		return r;
	l->items[l->n] = strndup(word, len);
	if (!l->items[l->n])
		return error_oom(err);
	l->n++;
	return 0;
}

static int parse_list(void *field, const char *value, const struct config_key *key,
                      struct error *err)
{
	static const char between[] = ", \t";
	int r = 0;

	if (!value[strspn(value, between)])
		return error_set(err, EINVAL, "%s has no value", key->name);
	for (value += strspn(value, between); r == 0 && *value; value += strspn(value, between)) {
		size_t len = strcspn(value, between);

		r = append_word(field, value, len, err);
		value += len;
	}
	return r;
}

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit none[] = { { "", 1 }, { NULL, 0 } };
static const struct unit sizes[] = { { "", 1 },           { "K", 1ull << 10 }, { "M", 1ull << 20 },
	                             { "G", 1ull << 30 }, { "T", 1ull << 40 }, { NULL, 0 } };
static const struct unit times[] = { { "", 1 },     { "s", 1 },     { "m", 60 },
	                             { "h", 3600 }, { "d", 86400 }, { NULL, 0 } };

/* Decimal digits, then a unit: strtoull() alone takes " 1", "-1" and "0x1". */
static int parse_units(uint64_t *ret, const char *value, const struct config_key *key,
                       const struct unit *u, const char *what, struct error *err)
{
	unsigned long long v;
	char *end;

	errno = 0;
	v = strtoull(value, &end, 10);
	while (u->name && strcasecmp(end, u->name) != 0)
		u++;
	if (!isdigit((unsigned char)*value) || errno || !u->name ||
	    __builtin_mul_overflow(v, u->factor, &v))
		return error_set(err, EINVAL, "%s = %s: not a %s", key->name, value, what);
	if (v < key->min || v > key->max)
		return error_set(err, EINVAL, "%s = %s: from %llu to %llu", key->name, value,
		                 (unsigned long long)key->min, (unsigned long long)key->max);
	*ret = v;
	return 0;
}

static int parse_number(void *field, const char *value, const struct config_key *key,
                        struct error *err)
{
	return parse_units(field, value, key, none, "whole number", err);
}

static int parse_size(void *field, const char *value, const struct config_key *key,
                      struct error *err)
{
	int r = parse_units(field, value, key, sizes, "size", err);

	return r < 0 ? error_hint(err, "sizes look like 100, 512K, 20M, 2G") : 0;
}

static int parse_time(void *field, const char *value, const struct config_key *key,
                      struct error *err)
{
	int r = parse_units(field, value, key, times, "time in whole seconds", err);

	return r < 0 ? error_hint(err, "times look like 13s, 2m, 1h, 7d") : 0;
}

/* A pid as spec: 0 and what is too large are none. */
static int parse_pid(void *field, const char *value, const struct config_key *key,
                     struct error *err)
{
	uint64_t pid;
	int r = parse_units(&pid, value, key, none, "process id", err);

	return r < 0 ? r : parse_text(field, value, key, err);
}

static int parse_percent(void *field, const char *value, const struct config_key *key,
                         struct error *err)
{
	char *end;
	double v = strtod(value, &end);

	if (!strcmp(value, "none")) {
		*(double *)field = 0;
		return 0;
	}
	if (!isdigit((unsigned char)*value) ||
	    strspn(value, "0123456789.") != (size_t)(end - value) || strcmp(end, "%") != 0 ||
	    !(v > 0 && v <= 100))
		return error_set(err, EINVAL, "%s = %s: not a percentage like 2%%, nor none",
		                 key->name, value);
	*(double *)field = v / 100;
	return 0;
}

/* The number of @value among @words, which blanks part; -1: none of them. */
static int word_index(const char *words, const char *value)
{
	size_t len = strlen(value);

	for (int i = 0; *words; i++) {
		size_t n = strcspn(words, " ");

		if (n == len && !strncmp(words, value, n))
			return i;
		words += n + strspn(words + n, " ");
	}
	return -1;
}

static int parse_choice(void *field, const char *value, const struct config_key *key,
                        struct error *err)
{
	int i = word_index(key->words, value);

	if (i < 0) {
		error_set(err, EINVAL, "%s = %s: no such choice", key->name, value);
		return error_hint(err, "choices: %s", key->words);
	}
	*(int *)field = i;
	return 0;
}

static int parse_word(void *field, const char *value, const struct config_key *key,
                      struct error *err)
{
	int unused, r = parse_choice(&unused, value, key, err);

	return r < 0 ? r : parse_text(field, value, key, err);
}

/* ---- the table ---- */

#define SERVE(name, parser, ...)                                                                   \
	{                                                                                          \
		CONFIG_SERVE, #name, offsetof(struct config, name), parser, ##__VA_ARGS__          \
	}
#define TARGET(name, field, parser, ...)                                                           \
	{                                                                                          \
		CONFIG_TARGET, name, offsetof(struct config_target, field), parser, ##__VA_ARGS__  \
	}
#define TRIGGER(name, field, parser, ...)                                                          \
	{                                                                                          \
		CONFIG_TRIGGER, name, offsetof(struct config_trigger, field), parser,              \
			##__VA_ARGS__                                                              \
	}
#define PUSH(name, parser, ...)                                                                    \
	{                                                                                          \
		CONFIG_PUSH, #name, offsetof(struct config_push, name), parser, ##__VA_ARGS__      \
	}

enum { DAY_S = 86400 };

const struct config_key config_keys[] = {
	SERVE(listen, parse_text),
	SERVE(group, parse_text),
	SERVE(spool, parse_path),
	SERVE(token_file, parse_path),
	SERVE(tls_cert, parse_path),
	SERVE(tls_key, parse_path),
	SERVE(tls_client_ca, parse_path),
	SERVE(hosts, parse_list),
	SERVE(allow_comm, parse_list),
	SERVE(allow_uid, parse_list),
	SERVE(allow_cgroup, parse_list),
	SERVE(max_seconds, parse_time, .min = 1, .max = DAY_S),
	SERVE(slots, parse_number, .min = 1, .max = 64),
	SERVE(connections, parse_number, .min = 8, .max = 65536),
	SERVE(connections_per_address, parse_number, .min = 1, .max = 65536),
	{ CONFIG_SERVE, "timeout", offsetof(struct config, timeout_s), parse_time, .min = 1,
	  .max = 3600 },
	SERVE(budget, parse_percent),
	SERVE(spool_bytes, parse_size, .min = 0, .max = 1ull << 50),
	SERVE(spool_captures, parse_number, .min = 0, .max = 10000000),
	{ CONFIG_SERVE, "spool_age", offsetof(struct config, spool_age_s), parse_time, .min = 0,
	  .max = 36500ull * DAY_S },
	{ CONFIG_SERVE, "spool_free", offsetof(struct config, spool_free_percent), parse_number,
	  .min = 0, .max = 90 },

	TARGET("pid", spec, parse_pid, .min = 1, .max = 1 << 22),
	TARGET("cgroup", spec, parse_path, .prefix = "cgroup:"),
	TARGET("exe", exe, parse_path),
	TARGET("record", record, parse_choice, .words = "demand always"),

	TRIGGER("target", targets, parse_list),
	TRIGGER("rule", rule, parse_text),
	TRIGGER("capture", capture, parse_word, .words = "auto alloc refs map ladder"),
	TRIGGER("seconds", seconds, parse_time, .min = 1, .max = DAY_S),
	TRIGGER("cooldown", cooldown_s, parse_time, .min = 0, .max = 365 * DAY_S),
	TRIGGER("warmup", warmup_s, parse_time, .min = 0, .max = DAY_S),
	TRIGGER("per_day", per_day, parse_number, .min = 0, .max = 1000000),

	PUSH(kind, parse_word, .words = "pyroscope parca otlp"),
	PUSH(url, parse_url),
	PUSH(tenant, parse_text),
	PUSH(user, parse_text),
	PUSH(password_file, parse_path),
	PUSH(token_file, parse_path),
	PUSH(ca_file, parse_path),
	PUSH(labels, parse_list),
	PUSH(queue_bytes, parse_size, .min = 1 << 20, .max = 1ull << 40),
	{ 0 },
};

const char *config_keys_section(enum config_section s)
{
	static const char *const names[] = { "serve", "target", "trigger", "push" };

	return names[s];
}

const struct config_key *config_keys_find(enum config_section s, const char *name,
                                          struct error *err)
{
	struct nearest near = nearest_to(name);

	for (const struct config_key *k = config_keys; k->name; k++) {
		if (k->section == s && !strcmp(k->name, name))
			return k;
		if (k->section == s)
			nearest_offer(&near, k->name);
	}
	error_set(err, EINVAL, "[%s] has no key '%s'", config_keys_section(s), name);
	if (near.name)
		error_hint(err, "did you mean %s?", near.name);
	return NULL;
}
