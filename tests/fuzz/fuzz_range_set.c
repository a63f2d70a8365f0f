/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "../unit/range_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Six bytes are an operation; a list of pages says what must come of it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct model *m = calloc(1, sizeof(*m));
	struct range_set s = { 0 };

	if (!m)
		return 0;
	for (size_t i = 0; i + 6 <= size && i < 6000; i += 6)
		model_step(m, &s, data + i);
	model_compare(m, &s);
	range_set_clear(&s);
	free(m);
	return 0;
}
