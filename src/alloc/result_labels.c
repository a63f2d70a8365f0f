/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/result_labels.h"

#include <stdio.h>
#include <string.h>

int result_labels_text(struct result_labels *l, struct profile *p, const char *key,
                       const char *text, struct error *err)
{
	struct profile_label x = { 0 };
	int r;

	if (!text || !*text || l->n == PROFILE_MAX_LABELS)
		return 0;
	r = profile_string(p, key, strlen(key), &x.key, err);
	if (r == 0)
		r = profile_string(p, text, strlen(text), &x.text, err);
	if (r == 0)
		l->items[l->n++] = x;
	return r;
}

int result_labels_process(struct result_labels *l, struct profile *p, const struct tracee *t,
                          struct error *err)
{
	struct profile_label pid = { .number = t->pid };
	int r = profile_string(p, "pid", 3, &pid.key, err);

	l->items[0] = pid;
	l->n = 1;
	return r < 0 ? r : result_labels_text(l, p, "backend_type", t->kind, err);
}

int result_labels_context(struct result_labels *l, struct profile *p, const struct tracee *t,
                          u64 address, struct error *err)
{
	const struct runtime_context *c = tracee_names_context(t, address);
	char unknown[64];
	int r;

	if (!address)
		return 0;
	if (!c || !c->path[0]) {
		/* gone before its name was read */
		snprintf(unknown, sizeof(unknown), "[context 0x%llx]", (unsigned long long)address);
		return result_labels_text(l, p, "context", unknown, err);
	}
	r = result_labels_text(l, p, "context", c->path, err);
	if (r == 0)
		r = result_labels_text(l, p, "ident", c->ident, err);
	if (r == 0)
		r = result_labels_text(l, p, "class", c->class_name, err);
	return r;
}
