/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Machine code of one function. */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "unwind/flow.h"
#include "unwind/rows.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void note_exit(uint64_t target, void *arg)
{
	const size_t *size = arg;

	if (target - 0x1000 < *size)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup(rows_clear) struct rows rows = { .text_base = 0x1000, .text_end = 0x1000 + size };
	cleanup_free struct unwind_row *items = NULL;
	struct error err;
	size_t n = 0;
	int r;

	flow_each_exit(data, size, 0x1000, note_exit, &size);
	if (!size || rows_begin(&rows, 0x1000, 0x1000 + size, &err))
		return 0;
	r = flow_add_rows(data, size, 0x1000, &rows, &err);
	if (r > 0)
		rows_abandon(&rows);
	if (r < 0 || rows_finish(&rows, &items, &n, &err) < 0)
		return 0;
	if (n && (items[0].pc != 0 || items[0].type != UNWIND_RSP || items[0].cfa_offset != 8))
		abort();
	return 0;
}
