/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_variables.h"

#include <string.h>

#include "base/cleanup.h"
#include "runtime/code.h"
#include "runtime/go/go_code.h"

enum {
	MAX_CODE = 1 << 14,
};

struct wanted {
	const char *name;
	uint64_t at;
};

static int note_symbol(const struct elf_symbol *s, void *arg)
{
	struct wanted *w = arg;

	if (!s->defined || strcmp(s->name, w->name) != 0)
		return 0;
	w->at = s->value;
	return 1;
}

uint64_t go_variables_symbol(const struct go_module *m, const char *name)
{
	struct wanted w = { name, 0 };

	if (m->exe)
		elf_file_each_symbol(m->exe, ELF_SYMTAB, note_symbol, &w);
	return w.at ? w.at + m->bias : 0;
}

static void note(struct go_variables *v, uint64_t at)
{
	for (size_t i = 0; i < v->n; i++) {
		if (v->at[i] == at)
			return;
	}
	if (v->n < ARRAY_SIZE(v->at))
		v->at[v->n++] = at;
}

/* Variables that the instruction names, of those from @low up to @high. */
static void note_names(const struct code_insn *insn, uint64_t low, uint64_t high,
                       enum go_variables_how how, struct go_variables *ret)
{
	if (how == GO_VARIABLES_READ && insn->is_lea)
		return;
	for (size_t k = 0; k < ARRAY_SIZE(insn->names); k++) {
		if (insn->names[k] >= low && insn->names[k] < high)
			note(ret, insn->names[k]);
	}
}

void go_variables_of(const struct go_module *m, const char *function, enum go_variables_how how,
                     struct go_variables *ret)
{
	const struct go_layout *l = m->layout;
	struct go_code_function f;
	uint64_t low, high, len;
	const uint8_t *code;

	ret->n = 0;
	if (!go_code_find(m, function, &f) || f.end - f.entry > MAX_CODE)
		return;
	/* all that is between noptrdata and enoptrbss */
	low = image_uint64(m->image, m->at + l->moduledata_noptrdata);
	high = image_uint64(m->image, m->at + l->moduledata_enoptrbss);
	len = f.end - f.entry;
	code = image_at(m->image, f.entry, len);
	for (uint64_t at = 0; code && at < len;) {
		struct code_insn insn;

		if (!code_decode(code + at, len - at, f.entry + at, &insn) || !insn.length)
			return;
		note_names(&insn, low, high, how, ret);
		at += insn.length;
	}
}

uint64_t go_variables_shared(const struct go_module *m, const char *one, const char *other,
                             enum go_variables_how how)
{
	struct go_variables a, b;
	uint64_t found = 0;

	go_variables_of(m, one, how, &a);
	go_variables_of(m, other, how, &b);
	for (size_t i = 0; i < a.n; i++) {
		for (size_t k = 0; k < b.n; k++) {
			if (a.at[i] != b.at[k])
				continue;
			if (found)
				return 0;
			found = a.at[i];
		}
	}
	return found;
}
