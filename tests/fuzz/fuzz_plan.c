/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The text of a plan; what compiles must also run. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "runtime/plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int read_zeros(void *ctx, unsigned long long addr, void *buf, unsigned len)
{
	memset(buf, 0, len);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const unsigned long long arg[4] = { 0, ~0ULL, 1, 64 };
	cleanup_free char *text = malloc(size + 1);

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = 0;
	for (int role = PLAN_NONE; role <= PLAN_RESET; role++) {
		unsigned long long out[4] = { 0 };
		struct plan_code code = { 0 };
		struct error err = { 0 };

		if (plan_compile(role, text, &code, &err) < 0) {
			if (!err.message[0] || code.n)
				abort();
			continue;
		}
		if (code.n > PLAN_MAX_UOPS || code.second >= code.n ||
		    plan_run(&code, 0, arg, 1, read_zeros, NULL, out) ||
		    plan_run(&code, code.second, arg, 1, read_zeros, NULL, out))
			abort();
	}
	return 0;
}
