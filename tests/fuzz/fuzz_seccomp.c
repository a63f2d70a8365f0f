/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A seccomp filter, as a kernel would hand it out, and the call that it is asked about. */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "inject/seccomp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seccomp_data d;
	struct sock_filter *code;
	size_t n;
	uint32_t answer;

	if (size < sizeof(d))
		return 0;
	memcpy(&d, data, sizeof(d));
	n = (size - sizeof(d)) / sizeof(*code);
	code = malloc(n * sizeof(*code) + 1); /* so that a step behind its end is seen */
	if (!code)
		return 0;
	memcpy(code, data + sizeof(d), n * sizeof(*code));
	answer = seccomp_run(code, n, &d);
	if (seccomp_is_allowed(answer) && !n)
		abort();
	if (!seccomp_text(answer)[0])
		abort();
	free(code);
	return 0;
}
