/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * A profile as OpenTelemetry's protocol sends it: ExportProfilesServiceRequest of
 * opentelemetry-proto 1.11 (profiles/v1development, alpha), as the Go module
 * go.opentelemetry.io/proto/slim/otlp/profiles/v1development v0.4.1 has it; other
 * versions of that alpha have other layouts. The surprising rule: a profile has one
 * value type there, so a heap becomes several that share a dictionary of strings,
 * functions, locations, stacks. Addresses are offsets in the module's file; its
 * mapping begins at 0.
 */

#include "profile/profile.h"
#include "profile/proto.h"

struct otlp_attribute {
	const char *key, *value;
};

struct otlp_options {
	int64_t unix_ns;
	uint64_t id[2]; /* of the first profile; those of its other value types count up */
	const struct otlp_attribute *resource;
	size_t n_resource;
};

/* Appends to @to. Value types of which all values are 0 are left out, but for the default one.
 * -ENOMEM. */
int otlp_write(const struct profile *p, const struct otlp_options *o, struct proto *to,
               struct error *err);
