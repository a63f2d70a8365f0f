/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_layout.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "runtime/go/go_version.h"

#define N GO_LAYOUT_NONE

/*
 * The columns, in the order of the lines' values: the minor, the last patch
 * release that it holds for, its experiment. tools/go-layout.py reads them here,
 * with the release that it takes the values from. What has no column (-race, PIE,
 * -trimpath) changes none of these values. (1.18.3 to 1.18.9 and 1.19.3 could not
 * be had; the change of mspan is one backport, taken to be that of 2022-11-01.)
 */
enum { LAST = 255, EXPERIMENT_BYTES = 64 };

/* clang-format off */
static const struct column {
	unsigned minor, up_to;
	const char *experiment; /* "" none */
} columns[] = {
	{ 17, LAST, "" },               /* go1.17.13 */
	{ 18, 7, "" },                  /* go1.18 */
	{ 18, LAST, "" },               /* go1.18.10 */
	{ 19, 2, "" },                  /* go1.19.2 */
	{ 19, LAST, "" },               /* go1.19.13 */
	{ 20, LAST, "" },               /* go1.20.14 */
	{ 21, LAST, "" },               /* go1.21.13 */
	{ 22, LAST, "" },               /* go1.22.12 */
	{ 22, LAST, "noallocheaders" }, /* go1.22.12 */
	{ 23, 2, "" },                  /* go1.23.2 */
	{ 23, 11, "" },                 /* go1.23.11 */
	{ 23, LAST, "" },               /* go1.23.12 */
	{ 24, 5, "" },                  /* go1.24.5 */
	{ 24, LAST, "" },               /* go1.24.13 */
	{ 24, LAST, "noswissmap" },     /* go1.24.13 */
	{ 25, LAST, "" },               /* go1.25.7 */
	{ 25, LAST, "greenteagc" },     /* go1.25.7 */
	{ 25, LAST, "noswissmap" },     /* go1.25.7 */
	{ 26, LAST, "" },               /* go1.26.8 */
	{ 26, LAST, "nogreenteagc" },   /* go1.26.8 */
};
/* clang-format on */

#define GO_FIELD(name, where, ...) { __VA_ARGS__ },
static const uint32_t values[][ARRAY_SIZE(columns)] = {
#include "runtime/go/go_layout_fields.inc"
};
#undef GO_FIELD

/* What is different on this machine, for column @c. */
static void apply_machine(struct go_layout *l, size_t c)
{
#if defined(__aarch64__)
	static const struct {
		size_t at;
		uint32_t values[ARRAY_SIZE(columns)];
	} different[] = {
#define GO_FIELD(name, where, ...) { offsetof(struct go_layout, name), { __VA_ARGS__ } },
#include "runtime/go/go_layout_arm64.inc"
#undef GO_FIELD
	};

	for (size_t f = 0; f < ARRAY_SIZE(different); f++)
		memcpy((char *)l + different[f].at, &different[f].values[c], sizeof(uint32_t));
#endif
}

#define GO_FIELD(name, where, ...) { #name, where, offsetof(struct go_layout, name) },
const struct go_layout_field go_layout_fields[] = {
#include "runtime/go/go_layout_fields.inc"
};
#undef GO_FIELD
const size_t go_layout_n_fields = ARRAY_SIZE(go_layout_fields);

static bool has(uint32_t value)
{
	return value != GO_LAYOUT_NONE;
}

void go_layout_complete(struct go_layout *l, unsigned minor)
{
	l->minor = minor;
	/* malloc headers came with bits in spans, noMorePtrs with bits of one a word */
	l->bits = has(l->least_header)         ? GO_BITS_SPAN
	          : has(l->heap_arena_no_more) ? GO_BITS_ARENA
	                                       : GO_BITS_NIBBLES;
}

/* Those that leave the runtime's records as they are (internal/goexperiment/flags.go). */
static bool is_harmless(const char *name, size_t len)
{
	static const char *const names[] = {
		"nodwarf5",
		"boringcrypto",
		"jsonv2",
		"loopvar",
		"synctest",
		"rangefunc",
		"aliastypeparams",
		"noaliastypeparams",
		"newinliner",
		"nocoverageredesign",
		"simd",
		"runtimefreegc",
		"arenas",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0)
			return true;
	}
	return false;
}

/* "greenteagc" of "go1.25.4 X:nodwarf5,greenteagc", "" if none matters; several that do are no
 * column's. */
static void experiment_of(const char *version, char *buf, size_t size)
{
	const char *x = strstr(version, "X:");

	buf[0] = '\0';
	for (x = x ? x + 2 : ""; *x;) {
		size_t len = strcspn(x, ","), used = strlen(buf);

		if (!is_harmless(x, len))
			snprintf(buf + used, size - used, "%s%.*s", used ? "," : "", (int)len, x);
		x += len + (x[len] == ',');
	}
}

static unsigned patch_of(const char *version)
{
	unsigned minor, patch;

	return sscanf(version, "go1.%u.%u", &minor, &patch) == 2 ? patch : 0;
}

int go_layout_of(const char *version, struct go_layout *ret)
{
	unsigned minor = go_version_minor(version);
	char experiment[EXPERIMENT_BYTES];

	experiment_of(version, experiment, sizeof(experiment));
	for (size_t c = 0; c < ARRAY_SIZE(columns); c++) {
		if (columns[c].minor != minor || patch_of(version) > columns[c].up_to ||
		    strcmp(columns[c].experiment, experiment) != 0)
			continue;
		for (size_t f = 0; f < go_layout_n_fields; f++)
			memcpy((char *)ret + go_layout_fields[f].at, &values[f][c],
			       sizeof(values[f][c]));
		apply_machine(ret, c);
		go_layout_complete(ret, minor);
		return 1;
	}
	return 0;
}

const char *go_layout_lacks(const struct go_layout *l)
{
	for (size_t f = 0; f < go_layout_n_fields; f++) {
		uint32_t value;
		bool everywhere = true;

		memcpy(&value, (const char *)l + go_layout_fields[f].at, sizeof(value));
		for (size_t c = 0; c < ARRAY_SIZE(columns); c++)
			everywhere &= has(values[f][c]);
		if (everywhere && !has(value))
			return go_layout_fields[f].name;
	}
	return NULL;
}
