/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/engine.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "runtime/runtime.h"

static const struct engine_ops *const table[] = {
	&recorder_bpf_ops,
	&recorder_agent_ops,
	&recorder_usdt_ops,
};

size_t engine_n(void)
{
	return ARRAY_SIZE(table);
}

const struct engine_ops *engine_at(size_t i)
{
	return i < ARRAY_SIZE(table) ? table[i] : NULL;
}

const struct engine_ops *engine_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (!strcmp(table[i]->name, name))
			return table[i];
	}
	return NULL;
}

/* What is missing for all of them is one sentence. */
static int none(struct error *err, const struct engine_ops *other, const struct error *others)
{
	const struct error first = *err;

	error_set(err, -first.code, "%.200s; nor by --engine %s: %.170s", first.message,
	          other->name, others->message);
	return error_hint(err, "%s", first.hint);
}

static int can(const struct engine_ops *e, const struct engine_request *q, const struct target *t,
               struct error *err)
{
	int r = e->accepts(q, err);

	return r < 0 ? r : e->possible(t, err);
}

static int choose_by_itself(const struct engine_request *q, const struct engine_ops **ret,
                            struct error *err)
{
	cleanup(target_closep) struct target *t = NULL;
	const struct engine_ops *other = NULL;
	struct error why, others;

	*ret = table[0];
	if (table[0]->possible(NULL, err) == 0)
		return 0;
	/* one that cannot be opened is explained better by who needs it */
	if (target_open(q->pids[0], &t, &why) < 0)
		return 0;
	for (size_t i = 1; i < ARRAY_SIZE(table); i++) {
		if (table[i]->possible == table[0]->possible)
			continue; /* it needs the same */
		if (can(table[i], q, t, &why) < 0) {
			other = table[i];
			others = why;
			continue;
		}
		log_note(LOG_INFO, "%s; blocks are sampled by --engine %s", err->message,
		         table[i]->name);
		*ret = table[i];
		return 0;
	}
	return other ? none(err, other, &others) : err->code;
}

/* One of the names is of something that is not looked for unless it is asked for. */
static const struct runtime_ops *named_engine(const char *allocators)
{
	char name[64];

	for (const char *at = allocators; at && *at; at += strspn(at, ",")) {
		const size_t n = strcspn(at, ",");
		const struct runtime_ops *ops;

		snprintf(name, sizeof(name), "%.*s", (int)n, at);
		ops = registry_find(name);
		if (ops && ops->only_by_name)
			return ops;
		at += n;
	}
	return NULL;
}

int engine_choose(const struct engine_request *q, const struct engine_ops **ret, struct error *err)
{
	const struct runtime_ops *named = named_engine(q->options->allocators);

	/* its blocks stand for more than themselves, which the others do not know */
	if (named) {
		error_set(err, EINVAL, "%s is no allocator, but an engine", named->name);
		return error_hint(err, "--engine %s", named->name);
	}
	if (!q->options->engine)
		return choose_by_itself(q, ret, err);
	*ret = engine_find(q->options->engine);
	if (!*ret)
		return error_set(err, EINVAL, "no engine '%s'", q->options->engine);
	return (*ret)->accepts(q, err);
}
