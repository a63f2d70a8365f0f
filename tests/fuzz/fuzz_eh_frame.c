/* SPDX-License-Identifier: GPL-2.0-or-later */

/* First byte: 0 .debug_frame, else .eh_frame; then the section. */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "unwind/cfi.h"
#include "unwind/rows.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup(rows_clear) struct rows rows = { .text_base = 0x1000, .text_end = 0x100001000 };
	cleanup_free struct unwind_row *items = NULL;
	struct cfi_section s = { data + 1, size - 1, 0x2000, size && data[0] };
	size_t n_fdes = 0, n = 0;
	struct error err;

	if (!size || cfi_add_rows(&s, &rows, &n_fdes, &err) < 0)
		return 0;
	rows_sort(&rows);
	rows_set_end(&rows, 0x1004);
	if (rows_finish(&rows, &items, &n, &err) < 0)
		return 0;
	/* what every reader of a table relies on */
	for (size_t i = 0; i < n; i++)
		if (i ? items[i].pc <= items[i - 1].pc : items[i].pc != 0)
			abort();
	if (n > size || n_fdes > size)
		abort();
	return 0;
}
