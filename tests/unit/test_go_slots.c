/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "runtime/go/go_chain.h"
#include "runtime/go/go_machine.h"
#include "runtime/go/go_slots.h"
#include "runtime/go/go_waiting.h"

/*
 * A goroutine that does not exist, whose stack of 4 MiB is a binary tree of nodes
 * {a, b *node}: node i leads to nodes 2i + 1 and 2i + 2. A variable of its innermost frame, `v`,
 * is the root; each node has a label of its own, v.a.b.b...
 */
enum { NODES = 1 << 18, NODE = 16, WORD = 8, NODE_TYPE = 1, VARIABLES = 1 << 12, FRAMES = 1 << 15 };
#define LOW  0x7000000ull
#define HIGH (LOW + NODES * NODE)

static struct {
	struct go_types_slot slots[2];
	struct go_types_type node;
	struct go_locals_variable variables[VARIABLES];
	struct go_locals_piece piece;
	size_t n_variables;
	uint64_t looks; /* at variables */
} program;

/* ---- what go_slots.c asks ---- */

static uint64_t node_at(uint64_t i)
{
	return i < NODES ? LOW + i * NODE : 0;
}

int image_read(struct image *i, uint64_t addr, void *buf, size_t len)
{
	const uint64_t node = (addr - LOW) / NODE,
		       value = node_at(2 * node + 1 + addr % NODE / WORD);

	(void)i;
	memcpy(buf, &value, len);
	return 0;
}

const struct go_types_type *go_types_get(struct go_types *t, uint32_t type)
{
	(void)t, (void)type;
	return &program.node;
}

const struct go_types_slot *go_types_slot_at(const struct go_types_type *t, uint64_t offset)
{
	return &t->slots[offset / WORD];
}

uint32_t go_types_of_descriptor(struct go_types *t, uint64_t addr)
{
	(void)t, (void)addr;
	return 0;
}

int go_locals_at(struct go_locals *l, uint64_t entry, uint64_t pc,
                 const struct go_locals_variable **ret, size_t *n)
{
	(void)l, (void)entry, (void)pc;
	*ret = program.variables;
	*n = program.n_variables;
	return 0;
}

const struct go_locals_piece *go_locals_pieces(const struct go_locals *l,
                                               const struct go_locals_variable *v)
{
	(void)l, (void)v;
	program.looks++;
	return &program.piece;
}

int go_locals_generic(struct go_locals *l, uint64_t entry, struct go_locals_generic *ret)
{
	(void)l, (void)entry, (void)ret;
	return 0;
}

uint64_t go_dictionaries_find(struct go_dictionaries *d, const char *function,
                              const struct go_dictionaries_parameter *parameters, size_t n,
                              uint64_t start, uint64_t end)
{
	(void)d, (void)function, (void)parameters, (void)n, (void)start, (void)end;
	return 0;
}

uint32_t go_dictionaries_type(struct go_dictionaries *d, uint64_t dictionary, uint32_t index)
{
	(void)d, (void)dictionary, (void)index;
	return 0;
}

const struct go_frames_frame *go_frames_at(const struct go_frames *f, uint64_t at)
{
	(void)f, (void)at;
	return NULL;
}

uint64_t go_objects_word(struct go_objects *o, uint64_t at)
{
	(void)o, (void)at;
	return 0;
}

bool go_claims_target(struct go_claims *c, const struct go_types_slot *slot, uint64_t at,
                      uint64_t value, uint32_t *type, uint64_t *n)
{
	(void)c, (void)at, (void)value;
	*type = slot->to;
	*n = 1;
	return true;
}

const char *go_waiting_text(unsigned minor, unsigned status, unsigned reason)
{
	(void)minor, (void)status, (void)reason;
	return "";
}

/* ---- */

struct making {
	struct go_layout layout;
	struct go_module module;
	struct go_objects objects;
	struct object_graph texts;
	struct go_claims claims;
	struct go_frames frames;
	struct go_frames_code code;
	struct go_slots slots;
	struct go_goroutine goroutine;
	struct error err;
};

static uint32_t text(struct making *m, const char *s)
{
	uint32_t id;

	assert_int_equal(object_graph_text(&m->texts, s, strlen(s), &id, &m->err), 0);
	return id;
}

static void open_making(struct making *m)
{
	*m = (struct making){ .goroutine = { .low = LOW, .high = HIGH, .sp = LOW } };
	memset(&program, 0, sizeof(program));
	m->module.layout = &m->layout;
	m->objects.module = &m->module;
	m->claims = (struct go_claims){ .objects = &m->objects,
		                        .types = (struct go_types *)&program,
		                        .texts = &m->texts };
	m->frames.codes = &m->code;
	m->slots.claims = &m->claims;
	m->slots.locals = (struct go_locals *)&program;
	program.slots[0] = (struct go_types_slot){ 0, NODE_TYPE, text(m, ".a"), 0,
		                                   GO_TYPES_POINTER };
	program.slots[1] = (struct go_types_slot){ WORD, NODE_TYPE, text(m, ".b"), 0,
		                                   GO_TYPES_POINTER };
	program.node = (struct go_types_type){ .size = NODE, .slots = program.slots, .n_slots = 2 };
	program.piece = (struct go_locals_piece){ .bytes = NODE, .where = GO_LOCALS_STACK };
	for (size_t i = 0; i < VARIABLES; i++)
		program.variables[i] = (struct go_locals_variable){ .label = text(m, "v"),
			                                            .type = NODE_TYPE,
			                                            .n = 1 };
}

static void close_making(struct making *m)
{
	go_slots_clear(&m->slots);
	object_graph_clear(&m->texts);
	free(m->frames.frames);
}

static void add_frames(struct making *m, size_t n)
{
	m->frames.frames = calloc(n, sizeof(*m->frames.frames));
	assert_non_null(m->frames.frames);
	m->frames.n_frames = n;
	for (size_t i = 0; i < n; i++)
		m->frames.frames[i].cfa = LOW + i * NODE;
}

/* The label that node @i should have: the way to it, and the word's own field never. */
static void way_to(uint64_t i, char *buf)
{
	char back[64];
	size_t n = 0;

	for (; i; i = (i - 1) / 2)
		back[n++] = i % 2 ? 'a' : 'b';
	*buf++ = 'v';
	while (n) {
		*buf++ = '.';
		*buf++ = back[--n];
	}
	*buf = '\0';
}

/* All words have a name, and the right one, until the names are worth more than the stack: then it
 * is that of a node above. */
static void labels_are_bounded_by_the_stack(void **state)
{
	struct making m;
	size_t exact = 0;

	(void)state;
	open_making(&m);
	add_frames(&m, 1);
	program.n_variables = 1;
	assert_int_equal(go_slots_make(&m.slots, &m.frames, &m.goroutine, &m.err), 0);
	assert_int_equal(m.slots.n_words, 2 * NODES);
	for (size_t k = 0; k < m.slots.n_words; k++) {
		const char *label = object_graph_name(&m.texts, m.slots.words[k].label);
		char want[128];

		way_to(k / 2, want);
		assert_true(m.slots.words[k].at == LOW + k * WORD);
		assert_memory_equal(label, want, strlen(label));
		exact += !strcmp(label, want);
	}
	/* at 37 bytes and less a label all have one of their own: 9 of the 17 MiB that may be */
	assert_int_equal(exact, 2 * NODES);
	assert_true(m.texts.n_chars < 4 * (HIGH - LOW) + (2 << 20));
	close_making(&m);
}

/* Of a stack whose names are long, 130 MB in all: what may be spent is spent on those near the
 * variable, the others are called as what they hang from. */
static void long_labels_end(void **state)
{
	struct making m;

	(void)state;
	open_making(&m);
	add_frames(&m, 1);
	program.n_variables = 1;
	program.slots[0].label = text(&m, ".xxxxxxxxxxxxxxxxxxxxxxxxxa");
	program.slots[1].label = text(&m, ".xxxxxxxxxxxxxxxxxxxxxxxxxb");
	assert_int_equal(go_slots_make(&m.slots, &m.frames, &m.goroutine, &m.err), 0);
	assert_int_equal(m.slots.n_words, 2 * NODES);
	assert_true(m.texts.n_chars > 4 * (HIGH - LOW));
	assert_true(m.texts.n_chars < 4 * (HIGH - LOW) + (2 << 20));
	for (size_t k = 0; k < m.slots.n_words; k++) {
		const size_t len = strlen(object_graph_name(&m.texts, m.slots.words[k].label));
		const size_t levels = 63 - (size_t)__builtin_clzll(k / 2 + 1);

		/* up to the 14th level there is room */
		assert_true(len == 1 + 27 * levels || (levels > 14 && len < 1 + 27 * levels));
	}
	close_making(&m);
}

/* Many frames with many variables each: no more is looked at than what the stack is worth. */
static void frames_with_many_variables_end(void **state)
{
	struct making m;

	(void)state;
	open_making(&m);
	add_frames(&m, FRAMES);
	program.n_variables = VARIABLES;
	program.node.n_slots = 0;
	m.goroutine.high = LOW + FRAMES * NODE;
	assert_int_equal(go_slots_make(&m.slots, &m.frames, &m.goroutine, &m.err), 0);
	assert_true(program.looks > FRAMES);
	/* 64 for each of four times the words and 4096; all would be 134 million */
	assert_true(program.looks <= 64 * (4 * 2 * FRAMES + 4096) + 1);
	close_making(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(labels_are_bounded_by_the_stack),
		cmocka_unit_test(long_labels_end),
		cmocka_unit_test(frames_with_many_variables_end),
	};

	return cmocka_run_group_tests_name("go_slots", tests, NULL, NULL);
}
