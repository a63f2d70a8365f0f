/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/usdt/usdt.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "runtime/plan.h"
#include "runtime/usdt/usdt_notes.h"

enum { MAX_NOTES_BYTES = 4 << 20, ARGUMENT_TEXT = 96 };

#define PROVIDER "otel_memory"

/* The notes of a module; 0: it has none. */
static int read_notes(struct elf_file *elf, uint8_t **ret, size_t *len, struct error *err)
{
	struct elf_section s;

	*len = 0;
	if (!elf_file_section(elf, ".note.stapsdt", &s) || s.type != SHT_NOTE)
		return 0;
	return elf_file_section_data(elf, &s, MAX_NOTES_BYTES, (void **)ret, len, err);
}

static bool is_ours(const struct usdt_note *n)
{
	return !strcmp(n->provider, PROVIDER) &&
	       (!strcmp(n->name, "alloc") || !strcmp(n->name, "free"));
}

/* Prelinked: the section .stapsdt.base has moved with the code, the note has not. */
static uint64_t moved(struct elf_file *elf, const struct usdt_note *n)
{
	struct elf_section base;

	return elf_file_section(elf, ".stapsdt.base", &base) && n->base ? base.vaddr - n->base : 0;
}

static int compile(const struct usdt_note *n, struct plan_code *ret, struct error *err)
{
	static const char *const outputs[] = { "PTR", "SIZE", "WEIGHT" };
	const bool is_alloc = !strcmp(n->name, "alloc");
	char text[ARRAY_SIZE(outputs) * (ARGUMENT_TEXT + 8) + 8] = "";
	size_t len = 0;
	int r;

	for (unsigned i = 0; i < (is_alloc ? ARRAY_SIZE(outputs) : 1); i++) {
		char argument[ARGUMENT_TEXT];

		r = usdt_notes_argument(n->arguments, i, argument, sizeof(argument));
		if (r < 0)
			return error_set(err, ENOTSUP, "argument %u of \"%.60s\" cannot be read",
			                 i + 1, n->arguments);
		len += snprintf(text + len, sizeof(text) - len, "%s %s ", argument, outputs[i]);
	}
	snprintf(text + len, sizeof(text) - len, "END");
	r = plan_compile(is_alloc ? PLAN_MARK : PLAN_FREE, text, ret, err);
	ret->flags = PLAN_WEIGHTED;
	return r;
}

static int add(struct runtime_probes *to, struct symbol_module *m, const struct usdt_note *n,
               struct error *err)
{
	struct elf_file *elf = symbol_module_elf(m);
	const uint64_t by = moved(elf, n);
	struct runtime_probe p = { .owner = &usdt_runtime, .module = m };
	struct error why;

	snprintf(p.name, sizeof(p.name), PROVIDER ":%s", n->name);
	p.vaddr = p.at = n->pc + by;
	p.size = 1;
	if (compile(n, &p.code, &why) < 0)
		return why.code == -ENOMEM ? (*err = why).code
		                           : runtime_add_gap(to, p.name, why.message, err);
	if (n->semaphore && !elf_file_offset(elf, n->semaphore + by, &p.counter_offset))
		return runtime_add_gap(to, p.name, "its counter is in no segment", err);
	if (array_reserve(&to->probes, &to->cap_probes, to->n_probes + 1, err) < 0)
		return err->code;
	to->probes[to->n_probes++] = p;
	return 0;
}

static int each_module(const struct runtime_view *v, struct runtime_probes *to, struct error *err)
{
	size_t pos = 0;
	int found = 0;

	for (struct symbol_module *m; (m = runtime_next_module(v, &pos));) {
		cleanup_free uint8_t *notes = NULL;
		struct usdt_note n;
		size_t len = 0, at = 0;
		struct error ignored;

		if (read_notes(symbol_module_elf(m), &notes, &len, &ignored) == -ENOMEM)
			return error_oom(err);
		while (usdt_notes_next(notes, len, &at, &n) == 1) {
			if (!is_ours(&n))
				continue;
			found = 1;
			if (to && add(to, m, &n, err) < 0)
				return err->code;
		}
	}
	return found;
}

static int detect(const struct runtime_view *v, struct error *err)
{
	return each_module(v, NULL, err);
}

static int alloc_probes(const struct runtime_view *v, struct runtime_probes *to, struct error *err)
{
	int r = each_module(v, to, err);

	return r < 0 ? r : 0;
}

const struct runtime_ops usdt_runtime = {
	.name = "usdt",
	.title = "trace points of otel_memory",
	.only_by_name = true,
	.detect = detect,
	.alloc_probes = alloc_probes,
};
