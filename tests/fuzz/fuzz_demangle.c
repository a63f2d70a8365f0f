/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "symbol/demangle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_free char *symbol = strndup((const char *)data, size), *name = NULL;
	size_t len;

	if (!symbol)
		return 0;
	name = demangle_name(symbol);
	len = strlen(symbol);
	if (!name || strlen(name) > (len > DEMANGLE_MAX_OUTPUT ? len : DEMANGLE_MAX_OUTPUT))
		abort();
	if (demangle_bare_length(symbol) > len || (len && !demangle_bare_length(symbol)))
		abort();
	return 0;
}
