/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/what_object.h"
#include "map/what.h"
#include "render/escape.h"
#include "render/units.h"

static const char *state_name(enum regions_block_state s)
{
	switch (s) {
	case REGIONS_BLOCK_FREE: return "free";
	case REGIONS_BLOCK_CACHED: return "cached";
	default: return "live";
	}
}

/* ---- text: one line each ---- */

static void put(const char *before, const char *text)
{
	if (!text[0])
		return;
	fputs(before, stdout);
	escape_text(stdout, text, 0);
}

static void put_block(const struct what *w, const struct regions_block *b)
{
	char size[UNITS_BYTES];

	printf(" | %s block 0x%" PRIx64 "+%" PRIu64 " of %s", state_name(b->state), b->start,
	       w->address - b->start, units_bytes((int64_t)b->size, size, sizeof(size)));
	put(", ", b->heap);
	put(", ", b->detail);
}

static void put_line(const struct what *w)
{
	printf("0x%" PRIx64 "  ", w->address);
	if (!w->mapped) {
		puts("not mapped");
		return;
	}
	if (w->has_owner) {
		escape_text(stdout, w->owner.kind, 0);
		put(" ", w->owner.name);
		put(" (", w->owner.detail);
		if (w->owner.detail[0])
			putchar(')');
	}
	printf(" | %s 0x%" PRIx64 "-0x%" PRIx64, w->prot, w->start, w->end);
	put(" ", w->path);
	put(" | ", w->symbol);
	for (size_t i = 0; i < w->n_blocks; i++)
		put_block(w, &w->blocks[i]);
	if (!w->present)
		fputs(" | not in memory", stdout);
	for (size_t i = 0; i < w->n_words; i++) {
		printf("%s0x%" PRIx64, i ? ", " : " | ", w->words[i].value);
		put(" ", w->words[i].meaning);
	}
	putchar('\n');
}

/* ---- JSON ---- */

static void address(struct json *j, const char *key, uint64_t v)
{
	char text[20];

	snprintf(text, sizeof(text), "0x%" PRIx64, v);
	json_key(j, key);
	json_string(j, text);
}

static void text(struct json *j, const char *key, const char *v)
{
	json_key(j, key);
	json_string(j, v);
}

static void number(struct json *j, const char *key, uint64_t v)
{
	json_key(j, key);
	json_uint(j, v);
}

static void write_block(struct json *j, const struct what *w, const struct regions_block *b)
{
	json_object(j);
	text(j, "kind", b->kind);
	text(j, "heap", b->heap);
	address(j, "start", b->start);
	number(j, "size_bytes", b->size);
	number(j, "offset", w->address - b->start);
	text(j, "state", state_name(b->state));
	text(j, "detail", b->detail);
	json_object_end(j);
}

static void write_mapping(struct json *j, const struct what *w)
{
	json_key(j, "mapping");
	if (!w->mapped) {
		json_null(j);
		return;
	}
	json_object(j);
	address(j, "start", w->start);
	address(j, "end", w->end);
	text(j, "prot", w->prot);
	text(j, "path", w->path);
	number(j, "offset", w->offset);
	json_object_end(j);
}

static void write_owner(struct json *j, const struct what *w)
{
	json_key(j, "owner");
	if (!w->has_owner) {
		json_null(j);
		return;
	}
	json_object(j);
	text(j, "kind", w->owner.kind);
	text(j, "name", w->owner.name);
	text(j, "detail", w->owner.detail);
	text(j, "evidence", w->owner.evidence);
	json_object_end(j);
}

static int write_address(struct json *j, const struct what *w, struct what_object *o,
                         struct error *err)
{
	int r;

	json_object(j);
	address(j, "address", w->address);
	write_mapping(j, w);
	write_owner(j, w);
	text(j, "symbol", w->symbol);
	json_key(j, "blocks");
	json_array(j);
	for (size_t i = 0; i < w->n_blocks; i++)
		write_block(j, w, &w->blocks[i]);
	json_array_end(j);
	json_key(j, "in_memory");
	json_bool(j, w->present);
	json_key(j, "words");
	json_array(j);
	for (size_t i = 0; i < w->n_words; i++) {
		json_object(j);
		address(j, "value", w->words[i].value);
		text(j, "meaning", w->words[i].meaning);
		json_object_end(j);
	}
	json_array_end(j);
	r = what_object_json(o, j, w, err);
	json_object_end(j);
	return r;
}

/* ---- the command ---- */

/* "0x7f3c…", or the same digits alone: nobody writes addresses in decimal. */
static int parse_address(const char *word, uint64_t *ret, struct error *err)
{
	char *end;

	errno = 0;
	*ret = strtoull(word, &end, 16);
	if (end == word || *end || errno || word[0] == '-' || word[0] == '+') {
		error_set(err, EINVAL, "'%s' is no address", word);
		return error_hint(err, "addresses are hexadecimal: 0x7f3c00001234");
	}
	return 0;
}

static int look_all(struct what_view *v, pid_t pid, const struct cli_args *args,
                    const uint64_t *addresses, struct error *err)
{
	cleanup(what_object_close) struct what_object o = {
		.pid = pid,
		.has_lua = what_has(v, REGIONS_LUA),
	};
	struct json j = json_on(stdout);
	bool is_json = cli_flag(args, "json");
	int r = 0;

	if (is_json) {
		json_object(&j);
		json_key(&j, "addresses");
		json_array(&j);
	}
	for (size_t i = 0; i + 1 < args->n_words && r == 0; i++) {
		struct what w;

		r = what_look(v, addresses[i], &w, err);
		if (r == 0 && is_json) {
			r = write_address(&j, &w, &o, err);
		} else if (r == 0) {
			put_line(&w);
			r = what_object_print(&o, &w, err);
		}
	}
	if (is_json) {
		json_array_end(&j);
		json_object_end(&j);
		putchar('\n');
	}
	return r;
}

static int look_at(pid_t pid, const struct cli_args *args, const uint64_t *addresses,
                   struct error *err)
{
	static const struct symbol_options options = { .no_debuginfod = true, .no_inline = true };
	cleanup(target_closep) struct target *t = NULL;
	cleanup(symbol_pool_freep) struct symbol_pool *pool = NULL;
	cleanup(symbol_space_freep) struct symbol_space *space = NULL;
	cleanup(what_closep) struct what_view *v = NULL;
	int r = target_open(pid, &t, err);

	if (r == 0)
		r = symbol_pool_new(&options, &pool, err);
	if (r == 0)
		r = symbol_space_new(pool, t, &space, err);
	if (r == 0)
		r = what_open(t, space, &v, err);
	return r < 0 ? r : look_all(v, pid, args, addresses, err);
}

static int run(const struct cli_args *args, struct error *err)
{
	cleanup_free uint64_t *addresses = NULL;
	cleanup_free pid_t *pids = NULL;
	size_t n = 0;
	int r;

	if (args->n_words < 2)
		return error_set(err, EINVAL, "what needs a TARGET and one ADDRESS or more");
	addresses = calloc(args->n_words, sizeof(*addresses));
	if (!addresses)
		return error_oom(err);
	for (size_t i = 1; i < args->n_words; i++) {
		r = parse_address(args->words[i], &addresses[i - 1], err);
		if (r < 0)
			return r;
	}
	r = target_resolve(args->words[0], &pids, &n, err);
	if (r < 0)
		return r;
	if (n != 1)
		return error_set(err, EINVAL, "'%s' is %zu processes; an address needs one",
		                 args->words[0], n);
	r = look_at(pids[0], args, addresses, err);
	return r < 0 ? r : CLI_DONE;
}

static const struct cli_option own[] = {
	{ 0, "json", NULL, "for scripts" },
	{ 0 },
};
static const struct cli_option *const tables[] = { own, options_common, NULL };

const struct cli_command what_command = {
	.name = "what",
	.summary = "one address: mapping, owner, the allocator's block, first words",
	.usage = "[OPTION...] TARGET ADDRESS...",
	.details = "Reads from outside, while the process runs; a block is as it was at that\n"
		   "moment. Addresses are hexadecimal. A page that is not in memory is not read.\n"
		   "Of an object of a Go heap or of Lua: its type, where it was allocated if\n"
		   "that was sampled, and what keeps it.\n"
		   "\n"
		   "  memwho what 4711 0x7f3c00001234\n"
		   "  memwho what 4711 7f3c00001234 7ffd1c2b3a48 --json\n",
	.option_tables = tables,
	.run = run,
};
