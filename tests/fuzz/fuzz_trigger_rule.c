/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The text of a trigger's rule; what is taken can be acted upon. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "serve/trigger.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_free char *text = malloc(size + 1);
	struct trigger_rule rule = { 0 };
	struct trigger_sample s = { { 0, 1ll << 40, 1ll << 62 }, 1ll << 61, 1, 1 };
	struct trigger t;
	struct error err = { 0 };
	char reason[TRIGGER_REASON_BYTES];

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = 0;
	if (trigger_rule_parse(text, &rule, &err) < 0) {
		if (!err.message[0] || rule.bytes)
			abort();
		return 0;
	}
	trigger_init(&t, &rule, &(struct trigger_policy){ 0 });
	for (uint64_t i = 1; i < 2000; i++) {
		s.bytes[0] += 1 << 20;
		s.oom_kills += i == 1000;
		trigger_look(&t, i * 777777777, &s, reason);
	}
	if (t.fired > TRIGGER_MAX_PER_DAY || !trigger_rule_name(&rule)[0])
		abort();
	return 0;
}
