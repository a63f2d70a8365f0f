/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * One address: its mapping, who owns that, the allocator's block around it, and
 * what the first words there are. The surprising rule: several blocks may lie
 * around one address (a PostgreSQL chunk in a malloc block); they come outermost
 * first, each as its own allocator sees it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "map/ladder.h"

enum { WHAT_MAX_BLOCKS = 4, WHAT_MAX_WORDS = 4, WHAT_TEXT_BYTES = 160 };

struct what_word {
	uint64_t value;
	char meaning[WHAT_TEXT_BYTES]; /* "vtable for Conn", "-> glibc-arena", "\"GET /\""; "" */
};

struct what {
	uint64_t address;
	bool mapped;
	uint64_t start, end;          /* the mapping */
	char prot[5];                 /* "rw-p" */
	char path[512];               /* its name as the target sees it; "" */
	uint64_t offset;              /* of the address in the file, where there is one */
	char symbol[WHAT_TEXT_BYTES]; /* function or object that covers the address; "" */

	bool has_owner;
	struct regions_heap owner; /* the ladder's part */

	struct regions_block blocks[WHAT_MAX_BLOCKS]; /* outermost first */
	size_t n_blocks;

	bool present;                           /* the page is in memory */
	struct what_word words[WHAT_MAX_WORDS]; /* at the innermost block's start, else here */
	size_t n_words;
};

struct what_view;
/* Reads the ladder once for any number of addresses. */
int what_open(const struct target *t, struct symbol_space *space, struct what_view **ret,
              struct error *err);
struct what_view *what_close(struct what_view *v); /* NULL is fine; returns NULL */
void what_closep(struct what_view **v);

/* Does the process have a heap of this kind (regions.h)? */
bool what_has(const struct what_view *v, const char *kind);

/* An address that is not mapped is an answer, not an error. */
int what_look(struct what_view *v, uint64_t address, struct what *ret, struct error *err);
