/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The walk over a server's memory: first byte the form of a sound image
 * (pgimage.h), then damages of 10 bytes each: where (16 bits, in words) and the
 * word that is put there.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/pgimage.h"
#include "base/cleanup.h"
#include "runtime/postgres/pg_check.h"
#include "runtime/postgres/pg_tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void damage(struct pgimage *i, const uint8_t *data, size_t size)
{
	for (; size >= 10; data += 10, size -= 10) {
		uint64_t value;
		uint16_t word;

		memcpy(&word, data, sizeof(word));
		memcpy(&value, data + 2, sizeof(value));
		/* small numbers become addresses of the image: more of them fit */
		if (value < PGIMAGE_BYTES)
			value += PGIMAGE_BASE;
		pgimage_put(i, PGIMAGE_BASE + 8 * (word % (PGIMAGE_BYTES / 8)), value);
	}
}

static void look(struct pgimage *i, struct pg_memory *m)
{
	cleanup(pg_tree_clear) struct pg_tree tree = { 0 };
	struct pg_layout layout;
	struct pg_check check;
	struct error err;
	char path[256];

	if (pg_layout_find(m, &i->methods, PGIMAGE_BIAS, i->top, &layout, &err) < 0 ||
	    pg_tree_read(m, &layout, &tree, &err) < 0)
		return;
	for (size_t k = 0; k < tree.n; k++) {
		if (tree.items[k].free > tree.items[k].total)
			abort();
		pg_tree_path(&tree, &tree.items[k], path, sizeof(path));
	}
	pg_check_chunks(m, &layout, &tree, 0, &check, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup(pg_memory_clear) struct pg_memory m = { 0 };
	static struct pgimage image;
	struct error err;

	if (!size)
		return 0;
	pgimage_make(&image, data[0] % PGIMAGE_FORMS);
	damage(&image, data + 1, size - 1);
	if (pg_memory_add(&m, PGIMAGE_BASE, image.bytes, sizeof(image.bytes), &err) == 0)
		look(&image, &m);
	return 0;
}
