/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/lua/lua_names.h"

#include <ctype.h>
#include <elf.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

enum {
	TEXT = 256,
	MAX_NAME = 80,      /* of a field; longer ones are data */
	MAX_FIELDS = 10000, /* more are keys, not fields */
	SOURCE = 64,        /* LUA_IDSIZE 60, and more */
	MAX_VARIABLES = 1 << 24,
};

/* What an address is asked for. */
enum asked { TYPE, FIELD, STRING };

void lua_names_open(struct lua_names *n, struct lua_heap *h, struct object_graph *g,
                    struct image *i)
{
	*n = (struct lua_names){
		.heap = h, .graph = g, .image = i, .variables_left = MAX_VARIABLES
	};
}

void lua_names_clear(struct lua_names *n)
{
	hash_map_clear(&n->known);
	*n = (struct lua_names){ 0 };
}

int lua_names_text(struct lua_names *n, const char *text, uint32_t *ret, struct error *err)
{
	return object_graph_text(n->graph, text, strlen(text), ret, err);
}

static uint64_t *find(struct lua_names *n, uint64_t addr, enum asked asked)
{
	return hash_map_get(&n->known, addr << 2 | (uint64_t)asked);
}

static int keep(struct lua_names *n, uint64_t addr, enum asked asked, const char *text,
                uint32_t *ret, struct error *err)
{
	int r = lua_names_text(n, text, ret, err);

	return r < 0 ? r : hash_map_put(&n->known, addr << 2 | (uint64_t)asked, *ret, err);
}

/* ---- functions ---- */

/* As luaO_chunkid() of lobject.c: "@file" is a file, "=name" a name, else it is the program. */
static void source_name(const char *source, int64_t len, char *buf, size_t size)
{
	if (len <= 0)
		snprintf(buf, size, "?");
	else if (source[0] == '=' || source[0] == '@')
		snprintf(buf, size, "%s", source + 1);
	else
		snprintf(buf, size, "[string \"%.*s\"]", (int)strcspn(source, "\r\n"), source);
}

void lua_names_place(struct lua_names *n, uint64_t proto, char *buf, size_t size)
{
	const struct lua_layout *l = n->heap->layout;
	const uint64_t at = peek_word(n->heap->peek, proto + l->source);
	char source[SOURCE] = "", name[SOURCE + 16];
	int64_t len = at ? lua_heap_string(n->heap, at, source, sizeof(source)) : -1;
	uint32_t line = 0;

	source_name(source, len, name, sizeof(name));
	peek_read(n->heap->peek, proto + l->line_defined, &line, sizeof(line));
	if (line)
		snprintf(buf, size, "%s:%u", name, line);
	else
		snprintf(buf, size, "%s", name); /* the chunk itself */
}

struct search {
	uint64_t vaddr;
	char name[MAX_NAME];
};

static int is_there(const struct elf_symbol *s, void *arg)
{
	struct search *search = arg;

	if (!s->defined || s->type != STT_FUNC || s->value != search->vaddr)
		return 0;
	snprintf(search->name, sizeof(search->name), "%s", s->name);
	return 1;
}

/* Only the program's own functions have their names at hand. */
static void c_function(struct lua_names *n, uint64_t function, char *buf, size_t size)
{
	struct search search = { 0 };
	struct error unused;
	uint64_t bias = 0;
	struct elf_file *exe = n->image ? image_exe(n->image, &bias, &unused) : NULL;

	search.vaddr = function - bias;
	if (exe)
		elf_file_each_symbol(exe, ELF_ALL, is_there, &search);
	snprintf(buf, size, "function %s%s[C]", search.name, search.name[0] ? " " : "");
}

/* ---- types ---- */

static void user_type(struct lua_names *n, uint64_t addr, char *buf, size_t size)
{
	const uint64_t meta = peek_word(n->heap->peek, addr + n->heap->layout->user_metatable);
	const uint64_t at = meta ? lua_heap_field(n->heap, meta, "__name", LUA_META_NODES) : 0;
	char name[MAX_NAME];

	if (at && lua_heap_string(n->heap, at, name, sizeof(name)) > 0)
		snprintf(buf, size, "userdata %s", name);
	else
		snprintf(buf, size, "userdata");
}

/* Objects of one prototype, function or metatable have one type. */
static uint64_t type_of(struct lua_names *n, uint64_t addr, enum lua_kind kind)
{
	const struct lua_layout *l = n->heap->layout;

	if (kind == LUA_CLOSURE || kind == LUA_C_CLOSURE)
		return peek_word(n->heap->peek, addr + 24);
	if (kind == LUA_USERDATA)
		return peek_word(n->heap->peek, addr + l->user_metatable);
	return kind == LUA_PROTO ? addr + 1 : 0;
}

int lua_names_type(struct lua_names *n, uint64_t addr, enum lua_kind kind, uint32_t *ret,
                   struct error *err)
{
	static const char *const names[] = { "",         "string",    "string, long",
		                             "table",    "function",  "function [C]",
		                             "userdata", "thread",    "proto",
		                             "upvalue",  "Lua state", "string table" };
	const uint64_t of = type_of(n, addr, kind);
	char text[TEXT], place[TEXT - 16];
	uint64_t *found;

	if (!of)
		return lua_names_text(n, names[kind], ret, err);
	found = find(n, of, TYPE);
	if (found) {
		*ret = (uint32_t)*found;
		return 0;
	}
	if (kind == LUA_C_CLOSURE) {
		c_function(n, of, text, sizeof(text));
	} else if (kind == LUA_USERDATA) {
		user_type(n, addr, text, sizeof(text));
	} else {
		lua_names_place(n, kind == LUA_PROTO ? addr : of, place, sizeof(place));
		snprintf(text, sizeof(text), "%s %s", names[kind], place);
	}
	return keep(n, of, TYPE, text, ret, err);
}

/* ---- labels ---- */

static bool is_name(const char *s)
{
	if (!isalpha((unsigned char)*s) && *s != '_')
		return false;
	for (; *s; s++) {
		if (!isalnum((unsigned char)*s) && *s != '_')
			return false;
	}
	return true;
}

int lua_names_field(struct lua_names *n, uint64_t key, uint32_t *ret, struct error *err)
{
	uint64_t *found = find(n, key, FIELD);
	char name[MAX_NAME], text[MAX_NAME + 1];
	int64_t len;

	if (found) {
		*ret = (uint32_t)*found;
		return 0;
	}
	len = lua_heap_string(n->heap, key, name, sizeof(name));
	if (len <= 0 || len >= MAX_NAME - 1 || n->n_fields >= MAX_FIELDS ||
	    (int64_t)strlen(name) != len || !is_name(name))
		return lua_names_text(n, "[…]", ret, err);
	n->n_fields++;
	snprintf(text, sizeof(text), ".%s", name);
	return keep(n, key, FIELD, text, ret, err);
}

int lua_names_string(struct lua_names *n, uint64_t addr, const char *otherwise, uint32_t *ret,
                     struct error *err)
{
	uint64_t *found = addr ? find(n, addr, STRING) : NULL;
	char name[MAX_NAME];

	if (found) {
		*ret = (uint32_t)*found;
		return 0;
	}
	if (!addr || lua_heap_string(n->heap, addr, name, sizeof(name)) <= 0)
		return lua_names_text(n, otherwise, ret, err);
	return keep(n, addr, STRING, name, ret, err);
}
