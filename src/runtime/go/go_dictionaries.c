/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_dictionaries.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"

enum {
	WORD = 8,
	NAME_BYTES = 512,
	MAX_PIECE = 1 << 16, /* of a frame */
};

struct go_dictionaries {
	const struct go_module *module;
	struct go_types *types;
	struct object_graph *texts;
	struct hash_map symbols; /* address -> text: its name up to '[' */
	struct error *err;
};

struct go_dictionaries *go_dictionaries_close(struct go_dictionaries *d)
{
	if (d)
		hash_map_clear(&d->symbols);
	free(d);
	return NULL;
}

/* "main.(*holder[go.shape.int]).wait" and its dictionaries main..dict.holder[int] or, up to 1.19,
 * main..dict.(*holder[int]).wait: what stands before '[', as "main.holder". */
static void base_name(const char *name, char *buf, size_t size)
{
	static const char mark[] = "..dict.";
	const char *dict = strstr(name, mark), *end = strchr(name, '[');
	size_t n = 0;

	for (const char *c = name; *c && c != end && n + 1 < size; c++) {
		if (c == dict)
			c += sizeof(mark) - 2; /* to the dot that remains */
		if (*c != '(' && *c != '*')
			buf[n++] = *c;
	}
	buf[n] = '\0';
}

static int note_symbol(const struct elf_symbol *s, void *arg)
{
	struct go_dictionaries *d = arg;
	char base[NAME_BYTES];
	uint32_t text;
	int r;

	if (!s->defined || !s->name || !strstr(s->name, "..dict."))
		return 0;
	base_name(s->name, base, sizeof(base));
	r = object_graph_text(d->texts, base, strlen(base), &text, d->err);
	return r < 0 ? r : hash_map_put(&d->symbols, s->value + d->module->bias, text, d->err);
}

int go_dictionaries_open(const struct go_module *m, struct go_types *types,
                         struct object_graph *texts, struct go_dictionaries **ret,
                         struct error *err)
{
	struct go_dictionaries *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return error_oom(err);
	*d = (struct go_dictionaries){ m, types, texts, .err = err };
	r = elf_file_each_symbol(m->exe, ELF_SYMTAB, note_symbol, d);
	if (r < 0)
		go_dictionaries_close(d);
	else
		*ret = d;
	return r < 0 ? r : 0;
}

uint32_t go_dictionaries_type(struct go_dictionaries *d, uint64_t dictionary, uint32_t index)
{
	uint64_t at = image_uint64(d->module->image, dictionary + (uint64_t)index * WORD);

	return at >= d->module->types && at < d->module->etypes
	               ? go_types_of_descriptor(d->types, at)
	               : 0;
}

/* "[]main.node[go.shape.int]" may be []main.node[main.id]. */
static bool has_shape(struct go_dictionaries *d, uint32_t type, uint32_t shape)
{
	const struct go_types_type is = *go_types_get(d->types, type);
	const struct go_types_type of = *go_types_get(d->types, shape);
	const char *name = object_graph_name(d->texts, of.name);
	const char *until = strstr(name, "go.shape.");
	size_t len = until ? (size_t)(until - name) : strlen(name);

	return is.size == of.size && is.n_slots == of.n_slots &&
	       !strncmp(object_graph_name(d->texts, is.name), name, len);
}

static bool is_dictionary(struct go_dictionaries *d, uint64_t at, const char *base,
                          const struct go_dictionaries_parameter *p, size_t n)
{
	uint64_t *text = hash_map_get(&d->symbols, at);

	if (!text || strcmp(object_graph_name(d->texts, (uint32_t)*text), base) != 0)
		return false;
	for (size_t i = 0; i < n; i++) {
		uint32_t type = go_dictionaries_type(d, at, p[i].index);

		if (!type || !has_shape(d, type, p[i].type))
			return false;
	}
	return true;
}

uint64_t go_dictionaries_find(struct go_dictionaries *d, const char *function,
                              const struct go_dictionaries_parameter *p, size_t n, uint64_t at,
                              uint64_t end)
{
	uint64_t found = 0;
	char base[NAME_BYTES];

	if (end < at || end - at > MAX_PIECE || !n)
		return 0;
	base_name(function, base, sizeof(base));
	for (at = (at + WORD - 1) / WORD * WORD; at + WORD <= end; at += WORD) {
		uint64_t value = image_uint64(d->module->image, at);

		if (!value || value == found || !is_dictionary(d, value, base, p, n))
			continue;
		/* it calls itself with another type */
		if (found)
			return 0;
		found = value;
	}
	return found;
}
