/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The table of memwho.conf's keys, and what turns a value into its field. Adding
 * a key is one line in config_keys.c.
 */

#include "serve/config.h"

enum config_section { CONFIG_SERVE, CONFIG_TARGET, CONFIG_TRIGGER, CONFIG_PUSH, CONFIG_N_SECTIONS };

struct config_key {
	enum config_section section;
	const char *name;
	size_t offset; /* of the field in the section's struct */
	int (*parse)(void *field, const char *value, const struct config_key *key,
	             struct error *err);
	const char *words;  /* of an enumeration: "demand always" */
	const char *prefix; /* of a target's spec: "cgroup:" */
	uint64_t min, max;  /* of a number */
};

/* The last one has no name. */
extern const struct config_key config_keys[];

const char *config_keys_section(enum config_section s); /* "serve", "target" ... */

/* NULL, with the error (and the nearest key in its hint), if there is none. */
const struct config_key *config_keys_find(enum config_section s, const char *name,
                                          struct error *err);
